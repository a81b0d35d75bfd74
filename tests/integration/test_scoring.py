"""How likely a model finds tokens that are given to it, and questions that nobody waits for."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.inference.request import ChatRequest

pytestmark = pytest.mark.training

WORDS = 45  # in the vocabulary of the small model


def words(count: int) -> list[int]:
    """Return token ids, the same ones each time."""
    chance = random.Random(count)
    return [chance.randrange(5, WORDS) for _ in range(count)]


def expected(folder: Path, ids: list[int], start: int) -> float:
    """Return the sum of the log-probabilities of the ids from ``start`` on, computed at once."""
    import torch
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([ids])).logits[0].double()
    likely = torch.log_softmax(logits, dim=-1)
    return sum(float(likely[place - 1, ids[place]]) for place in range(start, len(ids)))


@pytest.mark.parametrize(
    ("count", "start"), [(2, 1), (40, 1), (40, 39), (300, 100), (300, 290), (513, 257), (513, 256)]
)
def test_tokens_are_scored_in_pieces_as_at_once(model_folder: Path, count: int, start: int) -> None:
    """Wherever the pieces of a long text end."""
    from arkor.backend.inference_worker.scoring import Scoring
    from arkor.backend.inference_worker.transformers_engine.base import LoadedBase

    said: list[dict[str, Any]] = []
    ids = words(count)
    scoring = Scoring(lambda **fields: said.append(fields), LoadedBase(str(model_folder), "float32"), None, ids, start)
    while not scoring.done:
        scoring.step()
    (found,) = said
    assert found["scored"]["tokens"] == count - start
    assert found["scored"]["dtype"] == "float32"
    assert found["scored"]["logprob"] == pytest.approx(expected(model_folder, ids, start), abs=1e-3)


class Heard:
    """A scheduler, and what it says."""

    def __init__(self, folder: Path) -> None:
        from arkor.backend.inference_worker.scheduler import Scheduler

        self.said: list[dict[str, Any]] = []
        self.scheduler = Scheduler(lambda **fields: self.said.append(fields))
        self._folder = str(folder)

    def ask(self, number: int, **more: Any) -> None:
        """Take a question in."""
        from arkor.backend.inference_worker.scheduler import Question

        request = ChatRequest(messages=[{"role": "user", "content": "say w1"}], max_tokens=3, temperature=0)
        self.scheduler.ask(Question(number, self._folder, None, **{"request": request, "dtype": "float32", **more}))

    def run_until(self, count: int) -> list[Any]:
        """Run until so many questions have ended; return their numbers, in the order of their ends."""
        ends: list[Any] = []

        def note(**fields: Any) -> None:
            self.said.append(fields)
            if {"done", "error", "scored", "rendered"} & fields.keys():
                ends.append(fields["id"])
                if len(ends) == count:
                    self.scheduler.close()

        self.scheduler._say = note
        self.scheduler.run()
        return ends


def test_a_prompt_is_told_as_a_chat_would_send_it(model_folder: Path) -> None:
    """Nothing is answered."""
    heard = Heard(model_folder)
    heard.ask(1, renders=True)
    assert heard.run_until(1) == [1]
    (said,) = heard.said
    assert said["rendered"]["ids"] == [2, 4, 6, 0]  # <user> say w1 </s>


def test_tokens_that_cannot_be_scored_are_refused(model_folder: Path) -> None:
    """The process stays, and the next question is answered."""
    heard = Heard(model_folder)
    heard.ask(1, request=None, score=([7], 1))
    heard.ask(2, request=None, score=([7, 8], 1))
    assert heard.run_until(2) == [1, 2]
    assert heard.said[0]["error"]["status"] == 400
    assert heard.said[1]["scored"]["tokens"] == 1


def test_questions_that_nobody_waits_for_come_last_and_leave_the_others_their_places(model_folder: Path) -> None:
    """Twenty of them do not keep a chat waiting: it is let in at once."""
    heard = Heard(model_folder)
    for number in range(20):
        heard.ask(number, is_background=True)
    heard.ask(99)
    assert len(heard.run_until(21)) == 21
    begun = [said["id"] for said in heard.said if "accepted" in said]
    assert begun.index(99) == 0
    assert begun.index(19) > begun.index(15)

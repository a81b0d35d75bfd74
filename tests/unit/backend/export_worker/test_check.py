"""How far two predictions of a token are apart, and what a check says."""

from __future__ import annotations

import math
import sys
from types import SimpleNamespace
from unittest import mock

import pytest

from arkor.backend.export_worker.check import Asked, check_ends, divergence, unchecked, words
from arkor.backend.export_worker.vllm import command, faults
from arkor.backend.exports.task import Task
from arkor.backend.training_worker.rows.asked import AskedRow
from arkor.data.questions import Question
from arkor.errors import ArkorError
from arkor.protocol.exports import ExportOptions

FOUND = {"rows": 2, "tokens": 100, "same": 99, "divergence": 0.0012, "engine": "an engine 1"}


@pytest.mark.parametrize(("to", "is_said"), [("gguf", True), ("ollama", True), ("merged", False), ("vllm", False)])
def test_without_llama_cpp_its_exports_say_how_to_check_them(
    monkeypatch: pytest.MonkeyPatch, to: str, is_said: bool
) -> None:
    """They are made all the same; nothing is said where no check was asked for."""
    monkeypatch.setitem(sys.modules, "xllamacpp", None)
    task = mock.create_autospec(Task, instance=True, options=ExportOptions(to=to))
    said = unchecked(task)
    assert (said is not None) == is_said
    assert said is None or "Run pip install 'arkor[llama]' where the backend runs, and export again." in said
    task.options = ExportOptions(to=to, check=False)
    assert unchecked(task) is None


def logs(*probabilities: float) -> list[tuple[int, float]]:
    """Return predictions of the tokens 0, 1, ..."""
    return [(token, math.log(one)) for token, one in enumerate(probabilities)]


@pytest.mark.parametrize(
    ("one", "other", "nats"),
    [
        (logs(0.7, 0.3), logs(0.7, 0.3), 0.0),
        (logs(0.5, 0.5), logs(0.25, 0.75), 0.5 * math.log(2) + 0.5 * math.log(2 / 3)),
        (logs(0.5, 0.25), logs(0.5, 0.125), 0.25 * math.log(2) + 0.25 * math.log(0.25 / 0.375)),
        ([(7, math.log(0.5))], [(8, math.log(0.5))], 0.0),
    ],
    ids=["equal", "all tokens", "the others count as one", "none in both"],
)
def test_the_divergence_is_that_of_the_tokens_that_both_know(
    one: list[tuple[int, float]], other: list[tuple[int, float]], nats: float
) -> None:
    """In nats, and never below 0."""
    assert divergence(one, other) == pytest.approx(nats, abs=1e-12)


def test_a_check_says_how_near_the_answers_are() -> None:
    """With fewer than 99 of 100 places alike, they are only nearly the same."""
    assert words(FOUND).startswith("answers as chats do: the likeliest token is the same at 99 of 100 places of 2 rows")
    assert words({**FOUND, "same": 98}).startswith("answers nearly as chats do: ")
    assert "0.0012 nats apart (an engine 1)" in words(FOUND)


@pytest.mark.parametrize(
    ("ended", "likeliest", "ends", "is_refused"),
    [(True, 2, False, True), (True, 2, True, False), (True, 7, False, False), (False, 2, False, False)],
    ids=["it goes on", "it ends", "it says something else", "the answer was cut"],
)
def test_where_chats_end_an_answer_the_export_ends_it(
    ended: bool, likeliest: int, ends: bool, is_refused: bool
) -> None:
    """If it finds the same token likeliest there: another one is a difference of the predictions."""
    row = AskedRow(3, Question([], "right"), None)
    asked = [Asked(row, {}, [1], [1, 5, 2], ended)]
    peer = [{"likeliest": [[(5, -0.1)], [(likeliest, -0.1)]], "ends": ends}]
    tokenizer = SimpleNamespace(decode=lambda ids: f"<{ids[0]}>")
    if is_refused:
        with pytest.raises(ArkorError, match=r"chats end that of row 3 with token 2 \('<2>'\)"):
            check_ends(asked, peer, [2], tokenizer)
    else:
        check_ends(asked, peer, [2], tokenizer)


@pytest.mark.parametrize(
    ("config", "found"),
    [
        ({"r": 8}, []),
        ({"r": 8, "use_dora": True, "modules_to_save": ["lm_head"]}, ["use_dora=True", "modules_to_save=['lm_head']"]),
        ({"r": 1024}, ["a rank of 1024, above 512"]),
        ({"r": 8, "bias": "all", "alpha_pattern": {"q_proj": 4}}, ["alpha_pattern={'q_proj': 4}", "bias='all'"]),
    ],
)
def test_vllm_takes_plain_adapters_of_its_ranks(config: dict[str, object], found: list[str]) -> None:
    """Others it refuses, or loads with another scale."""
    assert faults(config) == found


@pytest.mark.parametrize(("rank", "most"), [(1, 8), (8, 8), (9, 16), (257, 320), (512, 512)])
def test_the_command_gives_vllm_the_next_rank_that_it_has(rank: int, most: int) -> None:
    """It is an option of the server."""
    assert f"--max-lora-rank {most} --lora-modules words=." in command("some/model", "words", rank)

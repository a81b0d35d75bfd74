"""The scheduler with a real model of bytes: log-probabilities, several answers to a question, the prompt before it."""

from __future__ import annotations

import json
import math
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest
import torch

from arkor.backend.inference.request import ChatRequest, read_completion, read_request
from arkor.backend.inference_worker.answering import choice_seed
from arkor.backend.inference_worker.choices import Choices
from arkor.backend.inference_worker.rows import Row
from arkor.backend.inference_worker.scheduler import Gguf, Question, Scheduler
from arkor.backend.inference_worker.transformers_engine.model import Model
from tests.support.byte_model import CONTEXT, VOCABULARY, write_byte_model
from tests.support.converted import gguf_of

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),  # the libraries' own warnings
]

SOME = {"structuredOutputs": {"regex": "[a-z ]{20}"}, "temperature": 0, "maxTokens": 20}  # as many tokens as bytes
Line = dict[str, Any]


GGUF: dict[Path, Gguf] = {}  # of the models that llama.cpp answers


@pytest.fixture(scope="module")
def of_transformers(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_byte_model(tmp_path_factory.mktemp("bytes") / "model")


@pytest.fixture(scope="module")
def of_llama_cpp(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_byte_model(tmp_path_factory.mktemp("gguf") / "model")
    GGUF[folder] = gguf_of(folder)
    return folder


@pytest.fixture(scope="module", params=["of_transformers", "of_llama_cpp"])
def model(request: pytest.FixtureRequest) -> Path:
    """A model that each of the engines answers in turn."""
    folder: Path = request.getfixturevalue(request.param)
    return folder


def question(number: int, model: Path, request: ChatRequest, dtype: str | None = "float32") -> Question:
    """Return a question to a model, with the engine that it has."""
    if model in GGUF:
        return Question(number, str(model), None, request, GGUF[model])
    return Question(number, str(model), None, request, dtype=dtype)


@pytest.fixture(scope="module")
def one_by_one(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model that makes one answer at a time."""
    return write_byte_model(tmp_path_factory.mktemp("bytes") / "lone", joinable=False)


def complete(prompt: str, **fields: Any) -> ChatRequest:
    return read_completion({"prompt": prompt, **fields})


def chat(text: str, **fields: Any) -> ChatRequest:
    return read_request({"messages": [{"role": "user", "content": text}], **fields})


@attrs.define
class Answers:
    """What a scheduler said, and what an order was given at."""

    lines: list[Line] = attrs.Factory(list)

    def of(self, question: int, index: int | None = None) -> list[Line]:
        chosen = [line for line in self.lines if line["id"] == question]
        return chosen if index is None else [line for line in chosen if line.get("index") == index]

    def text(self, question: int = 0, index: int = 0) -> str:
        return "".join(line.get("delta", "") for line in self.of(question, index))

    def tokens(self, question: int = 0, index: int = 0) -> list[Line]:
        return [token for line in self.of(question, index) for token in line.get("logprobs", [])]

    def logprobs(self, question: int = 0, index: int = 0) -> list[Any]:
        return [token["logprob"] for token in self.tokens(question, index)]

    @property
    def end(self) -> Line:
        return self.lines[-1]


def asked(
    model: Path,
    *requests: ChatRequest,
    dtype: str | None = "float32",
    on: Callable[[Scheduler, Line], None] = lambda scheduler, line: None,
    ends: int | None = None,
) -> Answers:
    """Ask a scheduler of one's own questions, with their places as ids, until so many have ended; usually all."""
    answers, left = Answers(), [len(requests) if ends is None else ends]

    def say(**line: Any) -> None:
        answers.lines.append(line)
        on(scheduler, line)
        left[0] -= "done" in line or "error" in line
        if not left[0]:
            scheduler.close()

    scheduler = Scheduler(say)
    for number, request in enumerate(requests):
        scheduler.ask(question(number, model, request, dtype))
    scheduler.run()
    return answers


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-3), ("bfloat16", 0.1)])
def test_logprobs_of_an_answer_are_those_of_the_same_text_as_a_prompt(
    model: Path, dtype: str, tolerance: float
) -> None:
    """Greedy, made token by token; then the prompt and the answer are read at once and told with ``echo``."""
    made = asked(model, complete("Once ", logprobs=2, **SOME), dtype=dtype)
    text = f"Once {made.text()}"
    assert (len(text), len(made.tokens())) == (25, 20)
    read = asked(model, complete(text, logprobs=2, echo=True, maxTokens=0), dtype=dtype)
    assert read.text() == text
    assert read.logprobs()[0] is None
    assert read.logprobs()[5:] == pytest.approx(made.logprobs(), abs=tolerance)
    assert bytes(byte for token in read.tokens() for byte in token["bytes"]).decode() == text
    assert [token["offset"] for token in read.tokens()] == list(range(25))
    usage = {"prompt_tokens": 25, "completion_tokens": 0, "total_tokens": 25}
    assert read.end["done"] == {"finishReason": "length", "usage": usage}


def test_logprobs_are_those_of_the_model_whatever_the_temperature_and_the_constraint(model: Path) -> None:
    """The constraint allows two letters that the model finds unlikely, and one of them is chosen."""
    fields = {"structuredOutputs": {"choice": ["q", "z"]}, "logprobs": True, "topLogprobs": 20}
    cold, hot = asked(model, chat("a", temperature=0, **fields), chat("a", temperature=9, **fields)).lines, Answers()
    hot.lines = cold
    for number in (0, 1):
        assert hot.text(number) in {"q", "z"}
        [token] = hot.tokens(number)
        assert bytes(token["bytes"]).decode() == hot.text(number)
        assert token["logprob"] < token["top"][0]["logprob"]
        assert 0.1 < sum(math.exp(one["logprob"]) for one in token["top"]) <= 1 + 1e-5
        assert len({bytes(one["bytes"]) for one in token["top"]}) == 20
    if hot.text(0) == hot.text(1):
        assert hot.logprobs(0) == pytest.approx(hot.logprobs(1))


def test_the_probabilities_of_all_tokens_are_one_together(model: Path) -> None:
    """Also beside answers that want none, and whose lines have none."""
    request = attrs.evolve(chat("a", temperature=0, maxTokens=4), logprobs=VOCABULARY)
    answers = asked(model, request, chat("a", temperature=0, maxTokens=4))
    for token in answers.tokens(0):
        assert sum(math.exp(one["logprob"]) for one in token["top"]) == pytest.approx(1, abs=1e-4)
    assert not any("logprobs" in line for line in answers.of(1))


def test_bytes_of_a_character_come_with_it(model: Path) -> None:
    """Each is a token here."""
    answers = asked(model, complete("x", logprobs=0, structuredOutputs={"choice": ["a\u00e9b"]}, echo=True))
    assert [(token["bytes"], token["offset"]) for token in answers.tokens()] == [
        (list(b"x"), 0),
        (list(b"a"), 1),
        ([0xC3], 2),
        ([0xA9], 2),
        (list(b"b"), 3),
    ]


def test_choices_of_a_question_end_together(model: Path) -> None:
    """Each with an index; the prompt counts once, and the tokens of all of them."""
    answers = asked(model, chat("tell me", n=3, temperature=1, maxTokens=6, seed=5, logprobs=True))
    assert [line for line in answers.lines if "accepted" in line] == [
        {"id": 0, "accepted": answers.lines[0]["accepted"]}
    ]
    prompt = answers.lines[0]["accepted"]["promptTokens"]
    ends = [line for line in answers.lines if "ended" in line or "done" in line]
    assert sorted(line["index"] for line in ends) == [0, 1, 2]
    assert ["ended" in line for line in ends] == [True, True, False]
    usage = answers.end["done"]["usage"]
    assert usage["prompt_tokens"] == prompt
    assert usage["total_tokens"] == prompt + usage["completion_tokens"]
    assert 3 <= usage["completion_tokens"] <= 18


def test_a_prompt_of_several_answers_is_read_once(of_transformers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The model sees each of its tokens once, in one row, and then the answers beside each other."""
    shapes: list[tuple[int, int]] = []
    forward = Model.forward

    def counted(self: Model, ids: Sequence[Sequence[int]], *args: Any, **how: Any) -> Any:
        shapes.append((len(ids), len(ids[0])))
        return forward(self, ids, *args, **how)

    monkeypatch.setattr(Model, "forward", counted)
    asked(of_transformers, complete("tell me a story", n=4, **SOME))
    assert shapes == [(1, 15), *[(4, 1)] * 19]


def read_tokens(monkeypatch: pytest.MonkeyPatch, model: Path, *requests: ChatRequest, **how: Any) -> list[int]:
    """Return how many tokens of prompts each call read that read more than one."""
    lengths: list[int] = []
    forward = Model.forward

    def counted(self: Model, ids: Sequence[Sequence[int]], *args: Any, **options: Any) -> Any:
        lengths.append(len(ids[0]))
        return forward(self, ids, *args, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Model, "forward", counted)
        asked(model, *requests, **how)
    return [length for length in lengths if length > 1]


RULES = "These are the rules of the shop. "


def test_what_prompts_have_in_common_is_read_once(of_transformers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While one is answered after the other; the answers are those of prompts that are read as a whole."""
    requests = [complete(f"{RULES}{text}", **SOME) for text in ("one lamp", "two lamps", "two lamps and")]
    alone = [asked(of_transformers, request).text() for request in requests]
    together = asked(of_transformers, *requests)
    assert [together.text(number) for number in range(3)] == alone
    common = len(RULES)
    assert read_tokens(monkeypatch, of_transformers, *requests) == [common + 8, 9, 4]


@pytest.mark.parametrize(
    "second",
    [
        complete("other text that is long", **SOME),
        complete(f"{RULES}two", seed=1, **SOME),
        complete(f"{RULES}two"[20:], **SOME),
    ],
    ids=["another beginning", "a seed", "a part of it"],
)
def test_a_prompt_is_read_as_a_whole_if_it_shares_nothing_or_has_a_seed(
    of_transformers: Path, monkeypatch: pytest.MonkeyPatch, second: ChatRequest
) -> None:
    """An answer with a seed has to be the same whatever was asked before it."""
    first = complete(f"{RULES}one", **SOME)
    assert read_tokens(monkeypatch, of_transformers, first, second) == [
        len(first.prompt or ""),
        len(second.prompt or ""),
    ]


def test_a_prompt_is_forgotten_with_the_last_answer(of_transformers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """So the same question gets the same answer if nothing else is asked, and an idle model takes no memory."""

    def again(scheduler: Scheduler, line: Line) -> None:
        if line["id"] == 0 and "done" in line:
            scheduler.ask(question(1, of_transformers, complete(f"{RULES}one", **SOME)))

    first = complete(f"{RULES}one", **SOME)
    assert read_tokens(monkeypatch, of_transformers, first, on=again, ends=2) == [len(RULES) + 3] * 2


@pytest.mark.parametrize("seed", [None, 3])
def test_choices_of_the_likeliest_tokens_are_equal(model: Path, seed: int | None) -> None:
    """Also beside another answer, and made alone as those with a seed are."""
    fields = SOME if seed is None else {**SOME, "seed": seed}
    answers = asked(model, complete("other", **SOME), complete("tell me", n=4, **fields), complete("tell me", **SOME))
    assert {answers.text(1, index) for index in range(4)} == {answers.text(2)}
    assert answers.text(0) != answers.text(2)


def test_choices_with_a_seed_differ_and_are_repeated(model: Path) -> None:
    """The first one is the answer to the same question without ``n``, to the last bit of its log-probabilities."""
    fields = {"seed": 7, "maxTokens": 16, "logprobs": 0, "structuredOutputs": {"regex": "[a-z]{16}"}, "temperature": 3}
    first, again = asked(model, complete("go", n=3, **fields)), asked(model, complete("go", n=3, **fields))
    texts = [first.text(0, index) for index in range(3)]
    assert len(set(texts)) == 3
    assert [again.text(0, index) for index in range(3)] == texts
    single = asked(model, complete("go", **fields))
    assert (single.text(), single.logprobs()) == (texts[0], first.logprobs(0, 0))
    for index in (1, 2):
        assert asked(model, complete("go", **{**fields, "seed": choice_seed(7, index)})).text() == texts[index]


def test_choices_without_a_seed_differ(model: Path) -> None:
    """Each is constrained by itself."""
    fields = {"maxTokens": 40, "structuredOutputs": {"regex": "[a-z]{16}"}, "temperature": 3}
    answers = asked(model, complete("go", n=8, **fields))
    texts = [answers.text(0, index) for index in range(8)]
    assert len(set(texts)) > 1
    assert all(len(text) == 16 and text.isalpha() and text.islower() for text in texts)


def test_choices_wait_for_as_many_places_as_they_take(model: Path) -> None:
    """In their turn: what was asked before them goes on, and what was asked after them waits behind them."""
    requests = [complete("a", **SOME), complete("b", n=8, **SOME), complete("c", **SOME), complete("d", n=8, **SOME)]
    answers = asked(model, *requests)
    order = [
        (line["id"], next(kind for kind in ("accepted", "done") if kind in line))
        for line in answers.lines
        if "accepted" in line or "done" in line
    ]
    assert order == [(number, kind) for number in range(4) for kind in ("accepted", "done")]
    assert {answers.text(1, index) for index in range(8)} == {answers.text(1)}


def test_choices_of_a_model_that_makes_one_answer_at_a_time_come_one_after_the_other(one_by_one: Path) -> None:
    """Equal to its only answer, and so is that of the next question."""
    requests = [complete("tell", n=3, echo=True, logprobs=0, **SOME), complete("tell", logprobs=0, **SOME)]
    answers = asked(one_by_one, *requests)
    indexes = [line["index"] for line in answers.of(0)[1:]]
    assert indexes == sorted(indexes)
    assert {answers.text(0, index) for index in range(3)} == {f"tell{answers.text(1)}"}
    for index in range(3):
        assert answers.logprobs(0, index)[4:] == pytest.approx(answers.logprobs(1), abs=1e-3)
        assert [token["offset"] for token in answers.tokens(0, index)] == list(range(24))


@pytest.mark.parametrize("fixture", ["of_transformers", "of_llama_cpp", "one_by_one"])
def test_a_cancel_ends_all_choices(request: pytest.FixtureRequest, fixture: str) -> None:
    """Nothing more is said of any; the next question is answered."""

    def cancel(scheduler: Scheduler, line: Line) -> None:
        if line["id"] == 0 and "delta" in line:
            scheduler.cancel(0)

    requests = [complete("a", n=8, **SOME), complete("b", **SOME)]
    answers = asked(request.getfixturevalue(fixture), *requests, on=cancel, ends=1)
    assert not any("done" in line or "ended" in line for line in answers.of(0))
    # The turn in which it is cancelled goes on to its end: it read the prompt, which gives a token, and makes one more.
    assert 0 < len([line for line in answers.of(0) if "delta" in line]) <= 16
    assert len(answers.text(1)) == 20


def test_a_failure_of_one_choice_is_that_of_the_question() -> None:
    """It is told once, and the others are not made."""
    said: list[Line] = []
    choices = Choices(lambda **line: said.append(line), None)
    tellers: list[Any] = []

    def make(tell: Any) -> Row:
        tellers.append(tell)
        row = Row.__new__(Row)
        row.done = False
        return row

    for _ in range(3):
        choices.add(make)
    tellers[1](delta="a")
    tellers[2](error={"status": 400, "message": "no"})
    assert said == [{"index": 1, "delta": "a"}, {"index": 2, "error": {"status": 400, "message": "no"}}]
    assert choices.done
    assert all(row.done for row in choices.rows)


def test_a_prompt_may_fill_the_context_where_nothing_follows(model: Path) -> None:
    """And is read in pieces; one token more is refused, and so is an answer behind it."""
    text = json.dumps(list(range(99)))[:CONTEXT]
    whole = asked(model, complete(text, echo=True, logprobs=1, maxTokens=0))
    assert len(whole.tokens()) == CONTEXT
    for request in (complete(text + "a", echo=True, maxTokens=0), complete(text, echo=True, maxTokens=1)):
        error = asked(model, request).end["error"]
        assert error["status"] == 400
        assert "shorten the messages" in error["message"]


def test_a_prompt_is_told_the_same_in_pieces(of_transformers: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And beside another answer."""
    request = complete("one two three four", echo=True, logprobs=3, **SOME)
    whole = asked(of_transformers, request)
    monkeypatch.setattr("arkor.backend.inference_worker.transformers_engine.batch.PIECE_TOKENS", 5)
    pieces = asked(of_transformers, complete("other", **SOME), request)
    assert pieces.text(1) == whole.text(0) == f"one two three four{whole.text(0)[18:]}"
    assert pieces.logprobs(1)[1:] == pytest.approx(whole.logprobs(0)[1:], abs=1e-3)


def test_a_prompt_without_logprobs_is_told_too(model: Path) -> None:
    """As its text alone, before each choice."""
    answers = asked(model, complete("one ", echo=True, n=2, **SOME))
    assert answers.text(0, 0) == answers.text(0, 1)
    assert answers.text(0, 0).startswith("one ")
    assert not any("logprobs" in line for line in answers.lines)


def test_seeds_of_choices_are_seeds() -> None:
    """The first is that of the question; they differ, also those of neighbouring seeds."""
    seeds = [choice_seed(seed, index) for seed in (-1, 0, 1, 2**64 - 1) for index in range(8)]
    assert len(set(seeds)) == len(seeds)
    assert choice_seed(5, 0) == 5
    for seed in seeds:
        torch.Generator().manual_seed(seed)


def test_a_question_right_behind_a_cancel_is_answered(model: Path) -> None:
    """It was lost: a cancel, and each round of the scheduler, makes another list of the questions that wait."""
    request, answers = complete("Once ", **SOME), Answers()

    def say(**line: Any) -> None:
        answers.lines.append(line)
        if "done" in line:
            scheduler.close()

    scheduler = Scheduler(say)
    scheduler.cancel(0)
    scheduler.ask(question(1, model, request))
    given_up = threading.Timer(30, scheduler.close)
    given_up.start()
    scheduler.run()
    given_up.cancel()
    assert [line for line in answers.lines if "done" in line]

"""Samples of a real training: what is asked, when, for how long; and that the training does not notice.

The model is real and very small, so its answers mean nothing; who asks it, and when, is what counts.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from arkor.backend.inference_worker.base import Base
from arkor.backend.jobs import checkpoints
from arkor.backend.training_worker.sample_prompts import LONGEST_ANSWER_BYTES, Asked
from arkor.backend.training_worker.samples import Budget
from arkor.backend.training_worker.stopping import Interrupted, Position, StopReason, StopSwitch
from arkor.errors import ConfigError
from arkor.evaluation.cases import Answered
from arkor.protocol.config import JobConfig
from arkor.serving.refusal import Refusal
from tests.support.attempts import UPLOADED, Events, attempt

pytestmark = [
    pytest.mark.training,
    pytest.mark.filterwarnings("default"),  # of the libraries'
]

# The settings that need the most care: random numbers in each step, and evaluations in between.
USUAL: dict[str, Any] = {
    "max_steps": 6,
    "save_steps": 2,
    "eval_steps": 3,
    "learning_rate": 0.02,
    "lora_dropout": 0.1,
    "neftune_noise_alpha": 5.0,
    "train_sampling_strategy": "group_by_length",
    "dataset_split": {"evalFraction": 0.3, "seed": 3},
}
SAMPLES: dict[str, Any] = {"sample_prompts": 3, "sample_budget": 1.0}
STEPS = [0, 2, 4, 6]

Run = Callable[..., Events]


@pytest.fixture(autouse=True)
def _own_determinism() -> Iterator[None]:
    """What full_determinism sets is the process's, and would stay."""
    import torch

    with mock.patch.dict(os.environ):
        yield
    torch.use_deterministic_algorithms(False)


@pytest.fixture
def run(model_folder: Path, rows: Path, tmp_path: Path) -> Run:
    """Make an attempt at a job, which an event may stop."""
    return maker(model_folder, rows, tmp_path)


@pytest.fixture(scope="module")
def whole(model_folder: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> Events:
    """A run that nothing disturbs."""
    return maker(model_folder, rows, tmp_path_factory.mktemp("whole"))(**SAMPLES)


def maker(model_folder: Path, rows: Path, tmp_path: Path) -> Run:
    """Return what makes attempts in a folder."""
    from arkor.backend.training_worker.training import train

    def make(
        job: str = "job", number: int = 1, stop_at: Mapping[str, Any] | None = None, data: Path = rows, **settings: Any
    ) -> Events:
        (tmp_path / job).mkdir(exist_ok=True)
        config = JobConfig(model=str(model_folder), dataset_source=UPLOADED, **{**USUAL, **settings})
        spec = attempt(config, tmp_path / job, data, job_id=job, attempt=number, model_root=model_folder.parent)
        stop = StopSwitch()
        events = Events(stop, lambda event: stop_at is not None and stop_at.items() <= event.items())
        make.last = events  # type: ignore[attr-defined]
        train(spec, events, stop, Position())  # type: ignore[arg-type]
        return events

    return make


def made(events: Events) -> list[dict[str, Any]]:
    """Return the samples that were told."""
    return [event for event in events.sent if event["type"] == "sample.made"]


def places(events: Events) -> list[tuple[int, int]]:
    """Return the step and the prompt of each sample that was told."""
    return [(event["step"], event["sample"]) for event in made(events)]


def trained(events: Events) -> list[Any]:
    """Return what a training learnt: its figures, and its adapters."""
    figures = [events.figures(name) for name in ("loss", "gradNorm", "evalLoss", "evalMeanTokenAccuracy")]
    return [*figures, {artifact["name"]: artifact["sha256"] for artifact in events.sent[-1]["artifacts"]}]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"gradient_checkpointing": True, "full_determinism": True},
        pytest.param({"dtype": "bfloat16", "use_dora": True}, marks=pytest.mark.slow),
    ],
    ids=["usual", "full determinism", "bfloat16 and DoRA"],
)
def test_samples_change_nothing_in_the_training(run: Run, settings: dict[str, Any]) -> None:
    """Each figure and each byte of the adapters is the same with them and without."""
    sampled = run("sampled", **SAMPLES, **settings)
    assert trained(sampled) == trained(run("plain", **settings))
    assert places(sampled) == [(step, sample) for step in STEPS for sample in range(3)]


def test_a_sample_is_a_held_out_row_and_its_answer(whole: Events, rows: Path) -> None:
    """The same rows at each step, with their own answers; the events stand before their checkpoint's."""
    events = whole
    lines = [json.loads(line)["messages"] for line in rows.read_text().splitlines()]
    for event in made(events):
        messages = lines[event["row"] - 1]
        assert (event["prompt"], event["expected"]) == (messages[:-1], messages[-1]["content"])
        assert event["exact"] is (event["answer"] == event["expected"])
    assert len({(event["sample"], event["row"]) for event in made(events)}) == 3
    order = [(event["type"], event.get("step")) for event in events.sent]
    logged, saved = order.index(("training.log", 4)), order.index(("checkpoint.saved", 4))
    assert order[logged:saved] == [("training.log", 4), *[("sample.made", 4)] * 3]
    assert order[1] == ("sample.made", 0)


def test_the_seed_of_the_split_chooses_the_rows(run: Run) -> None:
    """The same one the same rows."""

    def chosen(job: str, seed: int) -> list[int]:
        split = {"evalFraction": 0.9, "seed": seed}
        return [event["row"] for event in made(run(job, **SAMPLES, dataset_split=split, max_steps=1))][:3]

    first = chosen("first", 3)
    assert first == chosen("again", 3)
    assert first != chosen("other", 4)


def test_without_checkpoints_the_evaluations_are_the_steps(run: Run) -> None:
    """And the last step, if it is none of them."""
    assert places(run(**SAMPLES, save_steps=None, max_steps=7)) == [
        (step, n) for step in (0, 3, 6, 7) for n in range(3)
    ]


def test_a_training_that_stops_early_asks_at_its_last_step(run: Run) -> None:
    """Although nobody knew before that it is the last one."""
    early = {"early_stopping_patience": 1, "early_stopping_threshold": 1000.0}
    events = run(**SAMPLES, **early, save_steps=100, eval_steps=1)
    assert max(events.figures("loss")) == 2
    assert sorted({step for step, _ in places(events)}) == [0, 2]


def test_given_prompts_are_asked_in_the_form_of_the_training(run: Run) -> None:
    """A text is a question to a model that learns chats, and is gone on with by one that learns plain text."""
    messages = [{"role": "user", "content": "say w2"}]
    events = run(**{**SAMPLES, "sample_prompts": ["say w1", messages]}, dataset_split=None, eval_steps=None)
    asked = {event["sample"]: event["prompt"] for event in made(events)}
    assert asked == {0: [{"role": "user", "content": "say w1"}], 1: messages}
    assert all({"row", "expected", "exact"}.isdisjoint(event) for event in made(events))
    settings = {"dataset_format": {"type": "text"}, "dataset_split": None, "eval_steps": None}
    events = run("raw", **{**SAMPLES, "sample_prompts": ["say w1"]}, **settings)
    assert {event["prompt"] for event in made(events)} == {"say w1"}


def test_an_answer_has_a_longest_length(run: Run) -> None:
    """This model never ends by itself at some step; that its answer was cut is told."""
    events = run(**{**SAMPLES, "sample_prompts": ["say w1"]}, dataset_split=None, eval_steps=None)
    long = [event for event in made(events) if event.get("truncated")]
    assert long
    assert all(len(event["answer"].split()) == 256 for event in long)


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"dataset_format": {"type": "text"}}, "asks anything.*; or give the prompts in place of a number"),
        ({"dataset_split": None, "eval_steps": None}, "held no rows out.*; or give the prompts in place of a number"),
        ({"sample_prompts": ["say w1", "w1 " * 5000]}, "prompt 2 cannot be asked: The prompt has"),
    ],
    ids=["plain text", "no rows", "too long"],
)
def test_what_cannot_be_asked_is_refused_before_the_first_step(run: Run, settings: dict[str, Any], says: str) -> None:
    """The error says what to do."""
    with pytest.raises(ConfigError, match=f"^sample_prompts: .*{says}"):
        run(**{**SAMPLES, **settings})
    assert run.last.sent == []  # type: ignore[attr-defined]


def test_a_row_that_does_not_fit_into_the_context_is_not_chosen(
    run: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The training drops it too. If none fits, the error says so."""
    long = tmp_path / "long.jsonl"
    lengths = [2] * 12 + [3, 4000, 4]
    asked = [
        [{"role": "user", "content": f"w{number} " * length}, {"role": "assistant", "content": "w1"}]
        for number, length in enumerate(lengths)
    ]
    long.write_text("".join(json.dumps({"messages": messages}) + "\n" for messages in asked))
    split = {"dataset_split": {"evalFraction": 0.2}, "max_steps": 1, "excess_length": "drop"}
    assert {event["row"] for event in made(run("some", data=long, **SAMPLES, **split))} == {13, 15}
    monkeypatch.setattr(Base, "check_length", refuse)
    with pytest.raises(ConfigError, match=r"^sample_prompts: none of the held-out rows can be asked, .*too long"):
        run("none", data=long, **SAMPLES, **split)


def refuse(*_: Any) -> None:
    """Stand in for a check that each prompt fails."""
    raise Refusal(400, "it is too long")


def test_rows_that_are_too_long_to_be_kept_are_not_chosen(run: Run, tmp_path: Path) -> None:
    """If all of them are, the error says so."""
    long = tmp_path / "long.jsonl"

    def write(count: int) -> None:
        row = {"messages": [{"role": "user", "content": "say w1"}, {"role": "assistant", "content": "w1"}]}
        lines = [json.loads(json.dumps(row)) for _ in range(12)]
        for number, line in enumerate(lines):
            line["messages"][0]["content"] = f"say w{number}" + " " * (40_000 if number >= 12 - count else 0)
        long.write_text("".join(json.dumps(line) + "\n" for line in lines))

    split = {"dataset_split": {"evalFraction": 0.25}, "max_steps": 1}
    write(2)
    assert {event["row"] for event in made(run("some", data=long, **SAMPLES, **split))} == {10}
    write(3)
    with pytest.raises(ConfigError, match=r"^sample_prompts: no held-out row is short enough"):
        run("none", data=long, **SAMPLES, **split)


def test_nothing_of_the_prompts_is_logged(run: Run, caplog: pytest.LogCaptureFixture) -> None:
    """They are the user's data."""
    caplog.set_level(logging.DEBUG)
    run(**{**SAMPLES, "sample_prompts": ["say w7 w7 w7"]})
    assert "1 samples at step 4 took" in caplog.text
    assert "w7" not in caplog.text


# Stops


@pytest.mark.parametrize(
    "at",
    [
        {"type": "training.log", "step": 4},
        {"type": "checkpoint.saved", "step": 4},
        pytest.param({"type": "training.log", "step": 3}, marks=pytest.mark.slow),
        pytest.param({"type": "sample.made", "step": 4, "sample": 2}, marks=pytest.mark.slow),
        pytest.param({"type": "sample.made", "step": 0, "sample": 2}, marks=pytest.mark.slow),
    ],
    ids=lambda at: f"{at['type']} {at['step']}",
)
def test_a_resumed_attempt_asks_only_what_was_not_asked(run: Run, whole: Events, at: dict[str, Any]) -> None:
    """It tells again what its checkpoint knows, asks the rest, and ends as a run that nothing disturbed."""
    with pytest.raises(Interrupted):
        run("stopped", stop_at=at, **SAMPLES)
    before = run.last  # type: ignore[attr-defined]
    resumed = run("stopped", number=2, **SAMPLES)
    from_step = resumed.sent[0]["metadata"]["resumedFromStep"]
    told = {place: event for event, place in zip(made(before), places(before), strict=True)}
    for event, place in zip(made(resumed), places(resumed), strict=True):
        assert told.setdefault(place, event) == event
    assert sorted(told.values(), key=lambda event: (event["step"], event["sample"])) == made(whole)
    assert places(resumed) == places(whole)  # told again, up to the checkpoint
    assert from_step == max((step for step in before.figures("loss")), default=1)
    assert trained(resumed) == trained(whole)


def stop_within_the_answers(monkeypatch: pytest.MonkeyPatch, at_step: int, tokens: int = 3) -> list[int]:
    """Ask for a stop between two tokens of an answer; return how many tokens were made after it."""
    from arkor.backend.inference_worker.transformers_engine.batch import TransformersBatch
    from arkor.backend.training_worker.samples import Samples

    asked, made_since = [-1], [0]
    ask, turn, check = Samples.ask, TransformersBatch.turn, StopSwitch.check
    reason: list[StopReason] = []

    def ask_noting_the_step(samples: Samples, step: int, last_step: int) -> float:
        asked[0] = step
        return ask(samples, step, last_step)

    def turn_and_stop(batch: Any, advance: Any) -> None:
        turn(batch, advance)
        if asked[0] == at_step:
            made_since[0] += 1
            if made_since[0] == tokens:
                reason.append(StopReason.TERMINATED)

    def checked(switch: StopSwitch) -> None:
        if reason:
            switch._reason = reason[0]
        check(switch)

    monkeypatch.setattr(Samples, "ask", ask_noting_the_step)
    monkeypatch.setattr(TransformersBatch, "turn", turn_and_stop)
    monkeypatch.setattr(StopSwitch, "check", checked)
    return made_since


@pytest.mark.parametrize("step", [0, 2, *(pytest.param(step, marks=pytest.mark.slow) for step in (4, 6))])
def test_a_pause_ends_an_answer_between_two_tokens(
    run: Run, whole: Events, monkeypatch: pytest.MonkeyPatch, step: int
) -> None:
    """Nothing of that round is told; the checkpoint of the step is there, and the next attempt asks."""
    with monkeypatch.context() as patches:
        turns = stop_within_the_answers(patches, step)
        with pytest.raises(Interrupted):
            run("stopped", **SAMPLES)
    before = run.last  # type: ignore[attr-defined]
    assert turns == [3]
    assert {at for at, _ in places(before)} == {at for at in STEPS if at < step}
    resumed = run("stopped", number=2, **SAMPLES)
    assert resumed.sent[0]["metadata"].get("resumedFromStep", 0) == step
    assert made(resumed) == made(whole)
    assert trained(resumed) == trained(whole)


def test_the_samples_are_kept_with_the_checkpoint(run: Run, tmp_path: Path) -> None:
    """Its mark lists their file; so a storage has it, and a job that is resumed from this one."""
    run(**SAMPLES)
    newest = checkpoints.latest_complete(tmp_path / "job" / checkpoints.FOLDER)
    assert newest is not None
    assert "samples.json" in json.loads((newest / "complete.json").read_text())
    kept = json.loads((newest / "samples.json").read_text())["made"]
    assert [event["step"] for event in kept] == [step for step in STEPS for _ in range(3)]
    assert {"prompt", "expected"}.isdisjoint(kept[0])


# The budget


def budget(share: float, *, asked_s: float = 5.0, trained_s: float = 10.0) -> Budget:
    """Return the budget of a training that was asked once before it began, and has trained for a while."""
    now = [0.0]
    made = Budget(share, lambda: now[0])
    made.spend(asked_s)
    made.begin()
    now[0] += trained_s
    return made


@pytest.mark.parametrize(("steps", "allowed"), [(150, True), (149, False)])
def test_a_round_needs_room_for_the_last_one_too(steps: int, allowed: bool) -> None:
    """10 steps took 10 s: a tenth of 150 s is enough for three rounds of 5 s, one of them gone."""
    assert budget(0.1).allows(10, steps) is allowed


def test_without_a_limit_nothing_is_left_out() -> None:
    """However long it takes."""
    assert budget(1.0, asked_s=1e9).allows(1, 2)


def test_the_time_of_answers_is_none_of_training() -> None:
    """Else each round would make room for the next one."""
    now = [0.0]
    made = Budget(0.1, lambda: now[0])
    made.begin()
    now[0] += 15.0
    made.spend(5.0)
    assert made.kept() == {"trained": 10.0, "asked": 5.0, "round": 5.0}
    assert not made.allows(10, 149)
    assert made.allows(10, 150)


def test_a_later_attempt_goes_on_with_the_budget() -> None:
    """Also before it has trained a step."""
    later = Budget(0.1, lambda: 7.0)
    later.go_on(budget(0.1).kept())
    assert later.allows(10, 150)
    assert not later.allows(10, 149)
    later.begin()
    assert later.kept() == budget(0.1).kept()


def test_steps_without_time_are_left_out_but_not_the_first_and_the_last(run: Run) -> None:
    """A training of no time at all has none for answers."""
    assert sorted({step for step, _ in places(run(**{**SAMPLES, "sample_budget": 1e-9}))}) == [0, 6]


# What an event says


def asked(expected: str = "yes", calls: Any = ()) -> Asked:
    """Return a prompt of a row."""
    from arkor.backend.training_worker.rows.asked import AskedRow
    from arkor.data.questions import Question

    question = Question([{"role": "user", "content": "Q"}], expected, expected_calls=calls)
    return Asked(question.messages, {}, AskedRow(7, question))


def call(**arguments: Any) -> dict[str, Any]:
    """Return a call in chat completions form."""
    return {"type": "function", "function": {"name": "look", "arguments": json.dumps(arguments)}}


@pytest.mark.parametrize(
    ("prompt", "answer", "text", "exact"),
    [
        (asked(), Answered(text=" yes\n"), " yes\n", True),
        (asked(), Answered(text="Yes"), "Yes", False),
        (asked("", (call(a=1),)), Answered(calls=(call(a=1),)), '{"name": "look", "arguments": {"a": 1}}', True),
        (asked("", (call(a=1),)), Answered(calls=(call(a=2),)), '{"name": "look", "arguments": {"a": 2}}', False),
        (asked("", (call(a=1),)), Answered(text="no"), "no", False),
    ],
)
def test_an_answer_is_exact_if_its_text_and_its_calls_are(
    prompt: Asked, answer: Answered, text: str, exact: bool
) -> None:
    """White space aside; a call is a line of the answer."""
    event = prompt.event(2, 20, answer)
    assert (event["answer"], event["exact"], event["sample"], event["step"], event["row"]) == (text, exact, 2, 20, 7)
    assert "truncated" not in event


def test_a_very_long_answer_is_cut_to_whole_characters() -> None:
    """In bytes, and it is told; whether it was exact is found before."""
    long = "é" * LONGEST_ANSWER_BYTES
    event = asked(long).event(0, 0, Answered(text=f"a{long}"))
    assert event["answer"] == "a" + "é" * (LONGEST_ANSWER_BYTES // 2 - 1)
    assert event["truncated"] is True
    assert asked().event(0, 0, Answered(text="y", finish_reason="length"))["truncated"] is True

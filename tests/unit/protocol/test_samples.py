"""Samples: what may be asked, and what comes of it."""

from __future__ import annotations

import pickle
import sys
from typing import Any

import pytest

from arkor.errors import ArkorError, ConfigError
from arkor.protocol.config import JobConfig
from arkor.protocol.events import SampleMadeEvent, parse_event
from arkor.protocol.samples import Sample, Samples, prompts_to_wire

SECRET = "my secret prompt"
USER = {"role": "user", "content": SECRET}


def config(**settings: Any) -> JobConfig:
    """Return a config with the required fields filled in."""
    return JobConfig(model="m", dataset_source={"type": "huggingface", "name": "a/b"}, **settings)


@pytest.mark.parametrize(
    ("prompts", "says"),
    [
        ("my secret prompt", "must be a whole number of held-out rows"),
        (True, "must be a whole number of held-out rows"),
        (1.5, "must be a whole number of held-out rows"),
        ([], "must have 1 to 20 prompts, not 0"),
        ([SECRET] * 21, "must have 1 to 20 prompts, not 21"),
        ([SECRET, " \n"], "prompt 2 is empty"),
        ([SECRET, 3], "prompt 2 must be a text, or a list of messages"),
        ([[]], "prompt 1 must be a text, or a list of messages"),
        ([[USER, SECRET]], "prompt 1 has a message 2 that is not like"),
        ([[{**USER, "name": "x"}]], "prompt 1 has a message 1 that is not like"),
        ([[{"role": "robot", "content": SECRET}]], "prompt 1 has a message 1 whose role is none of system,"),
        ([[{"role": ["user"], "content": SECRET}]], "prompt 1 has a message 1 whose role is none of system,"),
        ([[{"role": "user", "content": " "}]], "prompt 1 has a message 1 whose content is no text"),
        ([[{"role": "user", "content": [SECRET]}]], "prompt 1 has a message 1 whose content is no text"),
        ([[USER, {"role": "assistant", "content": "Yes"}]], "prompt 1 ends with a message of the assistant"),
        ([SECRET + "\ud83d"], "holds half a character"),
        ([SECRET * 2000], "must have at most 20000 characters in all"),
    ],
)
def test_what_cannot_be_asked_is_refused_without_being_shown(prompts: Any, says: str) -> None:
    """The error says which prompt it is, and repeats nothing of it."""
    with pytest.raises(ConfigError) as raised:
        config(sample_prompts=prompts, save_steps=2)
    assert raised.value.field == "sample_prompts"
    assert says in str(raised.value)
    assert SECRET not in str(raised.value)


def test_samples_need_steps_to_be_made_at() -> None:
    """Those of the checkpoints or of the evaluations."""
    with pytest.raises(ConfigError, match=r"^sample_prompts: .*set save_steps or eval_steps"):
        config(sample_prompts=3)
    assert config(sample_prompts=3, eval_steps=2).sample_prompts == 3


def test_a_budget_alone_is_refused() -> None:
    """Nothing would come of it."""
    with pytest.raises(ConfigError, match=r"^sample_budget: changes nothing without sample_prompts"):
        config(sample_budget=0.1)


def test_prompts_travel_as_json_has_them() -> None:
    """So a job that is looked at later has the same settings."""
    assert prompts_to_wire(("a", ({"role": "user", "content": "b"},))) == ["a", [{"role": "user", "content": "b"}]]
    assert prompts_to_wire(3) == 3


BODY = {
    "type": "sample.made",
    "jobId": "job_1",
    "timestamp": "t",
    "step": 20,
    "sample": 1,
    "row": 7,
    "prompt": [USER],
    "expected": "At nine.",
    "answer": "At ten.",
    "exact": False,
    "truncated": True,
}
SAMPLE = Sample(
    step=20, sample=1, row=7, prompt=[USER], expected="At nine.", answer="At ten.", exact=False, truncated=True
)


def test_a_sample_is_read_as_it_travels() -> None:
    """And written so again."""
    event = parse_event(BODY, "5")
    assert isinstance(event, SampleMadeEvent)
    assert event == SampleMadeEvent(
        "job_1",
        "t",
        step=20,
        sample=1,
        row=7,
        prompt=[USER],
        expected="At nine.",
        answer="At ten.",
        exact=False,
        truncated=True,
    )
    assert event.to_wire() == BODY
    assert hash(event) == hash(parse_event(BODY))


def test_what_a_sample_lacks_is_absent() -> None:
    """A prompt of the settings has neither a row nor an expected answer; odd values count as absent."""
    event = parse_event({"type": "sample.made", "step": 0, "sample": 0, "prompt": "Q: ", "answer": "A"})
    assert event == SampleMadeEvent("", prompt="Q: ", answer="A")
    odd = {"row": "x", "exact": "yes", "truncated": 1, "prompt": [USER, 3], "step": "x", "sample": None, "answer": 7}
    assert parse_event({"type": "sample.made", **odd}) == SampleMadeEvent("", prompt=[USER], answer="7")


def test_samples_are_in_the_order_of_the_training() -> None:
    """Each once, however often it was told."""
    made = [Sample(step=step, sample=sample, answer=f"{step}-{sample}") for step in (20, 0) for sample in (1, 0)]
    samples = Samples([*made, made[0]])
    assert [one.answer for one in samples] == ["0-0", "0-1", "20-0", "20-1"]
    assert [one.answer for one in samples.at(20)] == ["20-0", "20-1"]
    assert samples.at(10) == []
    assert pickle.loads(pickle.dumps(samples)) == samples


def test_samples_become_a_data_frame() -> None:
    """With the types that one computes with."""
    pandas = pytest.importorskip("pandas")
    frame = Samples([SAMPLE, Sample(prompt="Q", answer="A")]).to_pandas()
    assert list(frame.columns) == ["step", "sample", "row", "prompt", "expected", "answer", "exact", "truncated"]
    assert [str(kind) for kind in frame.dtypes[["step", "sample", "row", "truncated"]]] == [
        *("int64", "int64", "Int64", "bool")
    ]
    assert frame["row"].tolist() == [pandas.NA, 7]
    assert frame["expected"].tolist() == [None, "At nine."]
    assert frame["exact"].tolist() == [None, False]
    assert list(Samples().to_pandas().columns) == list(frame.columns)


def test_a_data_frame_needs_pandas(monkeypatch: pytest.MonkeyPatch) -> None:
    """The error says how to install it."""
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ArkorError, match=r"pip install 'pandas>=2'"):
        Samples().to_pandas()

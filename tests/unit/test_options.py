"""Options that do not exist: which one was meant, and what a checked call keeps of itself."""

from __future__ import annotations

import inspect
import pydoc
from collections.abc import Callable
from typing import Any

import attrs
import pytest

import arkor
from arkor.client.chat import ChatOptions
from arkor.errors import ConfigError, UnknownOption
from arkor.options import known_options, nearest_name

SETTINGS = list(inspect.signature(arkor.Trainer).parameters)
LORA = list(inspect.signature(arkor.LoraConfig).parameters)
QUESTION = list(ChatOptions.__annotations__)
GIVEN: dict[str, Any] = {"name": "run", "model": "m", "dataset": {"type": "huggingface", "name": "a/b"}}


@pytest.mark.parametrize(
    ("name", "known", "nearest"),
    [
        ("max_step", SETTINGS, "max_steps"),
        ("maxSteps", SETTINGS, "max_steps"),
        ("Max_Steps", SETTINGS, "max_steps"),
        ("steps", SETTINGS, "max_steps"),
        ("epochs", SETTINGS, "num_train_epochs"),
        ("lr", SETTINGS, "learning_rate"),
        ("warmup", SETTINGS, "warmup_steps"),
        ("evaluation_steps", SETTINGS, "eval_steps"),
        ("rank", LORA, "r"),
        ("lora_alpha", LORA, "alpha"),
        ("megatron", LORA, None),
        ("temprature", QUESTION, "temperature"),
        ("temp", QUESTION, "temperature"),
        ("max_token", QUESTION, "max_tokens"),
        ("halt", QUESTION, None),
        ("", SETTINGS, None),
        ("__", SETTINGS, None),
    ],
)
def test_the_nearest_name_is_found(name: str, known: list[str], nearest: str | None) -> None:
    """Misspelt, in another style, shortened, or as other libraries call it; else none is guessed."""
    assert nearest_name(name, known) == nearest


@pytest.mark.parametrize(
    ("call", "option", "suggestion"),
    [
        (lambda: arkor.Trainer(**GIVEN, max_step=3), "max_step", "max_steps"),  # type: ignore[call-arg]
        (lambda: arkor.create_trainer(**GIVEN, max_step=3), "max_step", "max_steps"),
        (lambda: arkor.Trainer.attach("job_1", calbacks=None), "calbacks", "callbacks"),  # type: ignore[call-arg]
        (lambda: arkor.LoraConfig(rank=8), "rank", "r"),  # type: ignore[call-arg]
        (lambda: arkor.Callbacks(on_checkpoints=print), "on_checkpoints", "on_checkpoint"),  # type: ignore[call-arg]
        (lambda: arkor.ReconnectPolicy(max_attempt=3), "max_attempt", "max_attempts"),  # type: ignore[call-arg]
        (lambda: arkor.HuggingFaceDataset("a/b", splits="x"), "splits", "split"),  # type: ignore[call-arg]
        (lambda: arkor.BlobDataset("http://x", tokn="t"), "tokn", "token"),  # type: ignore[call-arg]
        (lambda: arkor.LocalDataset(pth="x"), "pth", "path"),  # type: ignore[call-arg]
    ],
)
def test_an_unknown_option_names_the_nearest(call: Callable[[], object], option: str, suggestion: str) -> None:
    """It is an error of arkor's tree, and a TypeError as any misspelt keyword is."""
    with pytest.raises(UnknownOption, match=f"^{option}: .* has no such option; did you mean {suggestion}") as raised:
        call()
    assert isinstance(raised.value, ConfigError)
    assert isinstance(raised.value, TypeError)
    assert (raised.value.field, raised.value.suggestion) == (option, suggestion)


def test_an_option_that_is_near_to_none_lists_those_that_there_are() -> None:
    """There are few, or the user is far off."""
    with pytest.raises(UnknownOption) as raised:
        arkor.LoraConfig(megatron=True)  # type: ignore[call-arg]
    assert str(raised.value).startswith("megatron: LoraConfig has no such option; it has r, alpha, max_length, ")
    assert raised.value.suggestion is None


def test_a_missing_option_is_pythons_own_error() -> None:
    """Only what does not exist is looked at."""
    with pytest.raises(TypeError, match="missing 2 required keyword-only arguments: 'model' and 'dataset'"):
        arkor.Trainer(name="run")  # type: ignore[call-arg]


def test_a_checked_call_keeps_its_signature() -> None:
    """For help(), for editors, and for who asks inspect: no catch-all, and every default."""
    signature = inspect.signature(arkor.Trainer)
    kinds = {one.kind for one in signature.parameters.values()}
    assert kinds == {inspect.Parameter.KEYWORD_ONLY}
    assert signature.parameters["max_steps"].default is None
    assert "max_steps: 'int | None' = None" in pydoc.plain(pydoc.render_doc(arkor.Trainer))
    assert list(inspect.signature(arkor.Trainer.attach).parameters)[:2] == ["job_id", "callbacks"]
    assert str(inspect.signature(arkor.LoraConfig)).startswith("(r: 'int' = 16, alpha: 'float' = 16, *, max_length")


def test_a_subclass_may_have_options_of_its_own() -> None:
    """It passes on those of the trainer."""

    class Nightly(arkor.Trainer):
        def __init__(self, *, night: str, **settings: Any) -> None:
            super().__init__(name=f"night-{night}", **settings)

    assert Nightly(night="1", model="m", dataset=GIVEN["dataset"]).name == "night-1"
    with pytest.raises(UnknownOption, match="max_step: Trainer has no such option"):
        Nightly(night="1", model="m", dataset=GIVEN["dataset"], max_step=1)


def test_a_checked_class_is_still_a_value() -> None:
    """Two are equal where they say the same, and one can be changed into another."""

    @known_options
    @attrs.frozen
    class Point:
        x: int
        y: int = 0

    assert attrs.evolve(Point(1), y=2) == Point(1, 2) == Point(x=1, y=2)
    with pytest.raises(UnknownOption, match=r"z: .*Point has no such option; it has x, y"):
        attrs.evolve(Point(1), z=3)  # type: ignore[call-arg]

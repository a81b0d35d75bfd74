"""Which engine answers, and when it is no longer asked."""

from __future__ import annotations

import logging
import threading
from importlib.metadata import PackageNotFoundError
from pathlib import Path
from typing import Any, cast

import attrs
import pytest

from arkor.backend.gguf import package
from arkor.backend.gguf.conversions import MODEL_LIMIT_S, Conversions, ConvertedModel
from arkor.backend.inference import engines
from arkor.backend.inference.engines import Engines
from arkor.backend.inference.targets import Target
from arkor.backend.settings import Settings


@attrs.define
class Converted:
    """Stands in for the conversions: everything is there, unless it is told otherwise."""

    folder: Path
    model_is_there: bool = True
    adapter_is_there: bool = True
    patience: list[float] = attrs.Factory(list)

    def model(self, _base: Path, dtype: str, patience_s: float, *_stopping: object) -> ConvertedModel | None:
        """As ``Conversions.model``."""
        self.patience.append(patience_s)
        return ConvertedModel(self.folder, dtype) if self.model_is_there else None

    def adapter(self, _model: ConvertedModel, adapter: Path) -> Path | None:
        """As ``Conversions.adapter``."""
        return adapter / "adapter.gguf" if self.adapter_is_there else None


@pytest.fixture(autouse=True)
def _good_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(engines, "has_cuda", lambda: False)
    monkeypatch.setattr(engines, "has_bf16_instructions", lambda: False)
    monkeypatch.setattr(package, "problem", lambda: None)


@pytest.fixture
def converted(tmp_path: Path) -> Converted:
    return Converted(tmp_path)


def made(converted: Converted, engine: str = "auto", dtype: str = "bf16") -> Engines:
    settings = Settings(data=converted.folder, chat_engine=engine, chat_dtype=dtype)
    return Engines(settings, cast("Conversions", converted))


def files(engines: Engines, folder: Path, **how: Any) -> dict[str, Any] | None:
    return engines.files(Target(name="m", base=str(folder), **how))


def test_llama_cpp_answers_what_is_converted(converted: Converted, tmp_path: Path) -> None:
    """With the adapter as a file; without one of them transformers answers."""
    chosen, model = made(converted, dtype="q8_0"), {"model": str(tmp_path / "model.gguf"), "dtype": "q8_0"}
    adapter = ("sha", str(tmp_path / "adapter"))
    assert files(chosen, tmp_path) == model
    assert files(chosen, tmp_path, adapter=adapter) == {**model, "adapter": str(tmp_path / "adapter" / "adapter.gguf")}
    assert files(chosen, tmp_path / "owner" / "gone") is None
    converted.adapter_is_there = False
    assert files(chosen, tmp_path, adapter=adapter) is None
    assert files(chosen, tmp_path) == model
    converted.model_is_there = False
    assert files(chosen, tmp_path) is None
    assert chosen.describe() == {"engine": "llama.cpp", "dtype": "q8_0"}


@pytest.mark.parametrize(("engine", "patience"), [("auto", 0.0), ("llama.cpp", 30.0)])
def test_a_person_does_not_wait_for_a_conversion_unless_the_engine_was_chosen(
    converted: Converted, tmp_path: Path, engine: str, patience: float
) -> None:
    """A report does: so it is computed by one engine."""
    chosen, target = made(converted, engine), Target(name="m", base=str(tmp_path))
    chosen.files(target)
    chosen.prepare(target, threading.Event())
    assert converted.patience == [patience, MODEL_LIMIT_S]


def test_transformers_answers_where_llama_cpp_is_not_quicker_or_not_there(
    converted: Converted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And says why; a GPU is no reason if llama.cpp was chosen."""
    assert made(converted, "transformers").describe() == {"engine": "transformers", "reason": "it was chosen"}
    monkeypatch.setattr(engines, "has_cuda", lambda: True)
    assert made(converted).describe() == {"engine": "transformers", "reason": "this machine has a GPU"}
    assert files(made(converted), tmp_path) is None
    assert made(converted, "llama.cpp").describe()["engine"] == "llama.cpp"
    monkeypatch.setattr(package, "problem", lambda: "xllamacpp is not installed")
    assert made(converted, "llama.cpp").describe() == {
        "engine": "transformers",
        "reason": "xllamacpp is not installed",
    }


def test_transformers_answers_where_the_processor_computes_in_bfloat16(
    converted: Converted, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Unless llama.cpp was chosen, or a number type that only llama.cpp has."""
    monkeypatch.setattr(engines, "has_bf16_instructions", lambda: True)
    assert made(converted).describe() == {
        "engine": "transformers",
        "reason": "it is quicker on this processor, which has instructions for bfloat16",
    }
    assert made(converted, "llama.cpp").describe()["engine"] == "llama.cpp"
    assert made(converted, dtype="q8_0").describe() == {"engine": "llama.cpp", "dtype": "q8_0"}


def test_three_crashes_in_a_row_are_enough(
    converted: Converted, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """An answer between them begins the count anew."""
    chosen = made(converted)
    asked = files(chosen, tmp_path)
    assert asked is not None
    for _ in range(2):
        chosen.crashed(asked)
    chosen.answered(asked)
    for left in (2, 1, 0):
        assert files(chosen, tmp_path) == asked
        with caplog.at_level(logging.ERROR):
            chosen.crashed(asked)
        assert bool(caplog.records) == (left == 0)
    assert files(chosen, tmp_path) is None
    assert "llama.cpp failed 3 times in a row" in caplog.text


@pytest.mark.parametrize(
    ("found", "flags", "problem"),
    [
        (package.VERSION, "fpu avx2 fma f16c bmi2", None),
        (package.VERSION, "fpu avx2 fma", "this processor has no bmi2, f16c"),
        ("2020.1.1", "fpu", f"xllamacpp 2020.1.1 is installed, and arkor knows {package.VERSION}: {package.INSTALL}"),
        (None, "fpu", f"xllamacpp is not installed: {package.INSTALL}"),
    ],
)
def test_what_the_package_needs(
    monkeypatch: pytest.MonkeyPatch, found: str | None, flags: str, problem: str | None
) -> None:
    """Its own version, and a processor that its wheel is built for."""
    monkeypatch.undo()

    def version(_name: str) -> str:
        if found is None:
            raise PackageNotFoundError
        return found

    monkeypatch.setattr("importlib.metadata.version", version)
    monkeypatch.setattr(package, "x86_instructions", lambda: frozenset(flags.split()))
    assert package.problem() == problem

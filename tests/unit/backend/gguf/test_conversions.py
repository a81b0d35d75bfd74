"""Models and adapters are converted once, kept, and swept with what they were made of."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.gguf import children, scripts
from arkor.backend.gguf.conversions import MAP, MODEL, SOURCE, Conversions
from arkor.errors import ArkorError
from tests.support.eventually import eventually


@attrs.define
class Converter:
    """Stands in for llama.cpp's scripts: notes what it is asked for, and writes small files or fails."""

    asked: list[list[str]] = attrs.Factory(list)
    failure: str | None = None
    gate: threading.Event = attrs.Factory(threading.Event)

    def run(self, _tools: Path, module: str, arguments: list[str], _folder: Path, **how: Any) -> None:
        """As ``scripts.run``."""
        assert module == "arkor.backend.gguf.chat_model"
        assert how["limit_s"] == 3600
        self.asked.append(arguments)
        while not self.gate.wait(0.01):
            if how["stopping"].is_set():
                raise ArkorError("The conversion was stopped.")
        if self.failure is not None:
            raise ArkorError(self.failure)
        (Path(arguments[1]) / MODEL).write_text(arguments[2])
        (Path(arguments[1]) / MAP).write_text("{}")

    def adapt(self, module: str, arguments: list[str], _folder: Path, **_how: Any) -> None:
        """As ``children.run``."""
        assert module == "arkor.backend.gguf.adapter"
        self.asked.append(arguments)
        if self.failure is not None:
            raise ArkorError(self.failure)
        Path(arguments[2]).write_text("adapter")


@pytest.fixture
def converter(monkeypatch: pytest.MonkeyPatch) -> Converter:
    made = Converter()
    made.gate.set()
    monkeypatch.setattr(scripts, "run", made.run)
    monkeypatch.setattr(children, "run", made.adapt)
    return made


@pytest.fixture
def base(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(b"weights")
    return folder


@pytest.fixture
def make(tmp_path: Path) -> Callable[[], Conversions]:
    return lambda: Conversions(tmp_path / "kept", tmp_path / "tools")


def kept(tmp_path: Path) -> list[str]:
    return sorted(item.name for item in (tmp_path / "kept").iterdir() if item.is_dir())


def test_a_model_is_converted_once(
    converter: Converter, base: Path, make: Callable[[], Conversions], tmp_path: Path
) -> None:
    """For all backends of the user; another number type is another file."""
    found = make().model(base, "bf16", 30)
    assert found is not None
    assert (found.file.read_text(), found.dtype) == ("bf16", "bf16")
    assert json.loads((found.folder / SOURCE).read_text()) == {"path": str(base), "dtype": "bf16"}
    assert make().model(base, "bf16") == found
    other = make().model(base, "q8_0", 30)
    assert other is not None
    assert other.file.read_text() == "q8_0"
    assert [arguments[::2] for arguments in converter.asked] == [[str(base), "bf16"], [str(base), "q8_0"]]
    assert kept(tmp_path) == sorted([found.folder.name, other.folder.name])


def test_nobody_waits_for_a_conversion_who_does_not_want_to(
    converter: Converter, base: Path, make: Callable[[], Conversions]
) -> None:
    """It goes on in the background, once, and its model is there afterwards."""
    converter.gate.clear()
    conversions = make()
    assert [conversions.model(base, "bf16", patience) for patience in (0.0, 0.01, 0.0)] == [None] * 3
    given_up = threading.Event()
    given_up.set()
    assert conversions.model(base, "bf16", 60, given_up) is None
    assert conversions.busy
    converter.gate.set()
    eventually(lambda: conversions.model(base, "bf16") is not None, "it is converted")
    eventually(lambda: not conversions.busy, "it is done")
    assert len(converter.asked) == 1


def test_files_of_a_model_that_changed_or_is_gone_are_swept(
    converter: Converter, base: Path, make: Callable[[], Conversions], tmp_path: Path
) -> None:
    """With what a conversion left that was killed."""
    first = make().model(base, "bf16", 30)
    (tmp_path / "kept" / ".work-killed").mkdir()
    (base / "model.safetensors").write_bytes(b"other weights")
    second = make().model(base, "bf16", 30)
    assert first is not None
    assert second is not None
    assert first.folder != second.folder
    assert kept(tmp_path) == [second.folder.name]


def test_a_model_that_cannot_be_converted_is_not_tried_at_each_question(
    converter: Converter,
    base: Path,
    make: Callable[[], Conversions],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The log says why, once, and nothing is left; an hour later it is tried again."""
    converter.failure = "Model LampForCausalLM is not supported"
    conversions = make()
    with caplog.at_level(logging.WARNING):
        assert [conversions.model(base, "bf16", 30) for _ in range(3)] == [None] * 3
    assert len(converter.asked) == 1
    (record,) = caplog.records
    said = record.getMessage()
    assert said == f"The model {base} is not answered by llama.cpp: Model LampForCausalLM is not supported"
    assert kept(tmp_path) == []
    converter.failure = None
    monkeypatch.setattr("arkor.backend.gguf.conversions._AGAIN_S", 0.0)
    assert make().model(base, "bf16", 30) is not None


def test_a_disk_without_room_is_not_filled(
    converter: Converter, base: Path, make: Callable[[], Conversions], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun."""
    monkeypatch.setattr("shutil.disk_usage", lambda _: attrs.make_class("Usage", ["free"])(3))
    assert make().model(base, "bf16", 30) is None
    assert converter.asked == []


def test_an_adapter_is_kept_beside_its_files(
    converter: Converter,
    base: Path,
    make: Callable[[], Conversions],
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """One that cannot be converted is not tried at each question."""
    conversions, adapters = make(), [tmp_path / name for name in ("one", "two")]
    for folder in adapters:
        folder.mkdir()
    model = conversions.model(base, "bf16", 30)
    assert model is not None
    del converter.asked[:]
    file = conversions.adapter(model, adapters[0])
    assert file is not None
    assert (file.parent, file.read_text()) == (adapters[0], "adapter")
    assert conversions.adapter(model, adapters[0]) == file
    assert len(converter.asked) == 1
    converter.failure = "a GGUF adapter cannot hold use_dora"
    assert [conversions.adapter(model, adapters[1]) for _ in range(2)] == [None, None]
    assert len(converter.asked) == 2
    assert [one.name for one in adapters[1].iterdir()] == []
    assert "The adapter two is not answered by llama.cpp: a GGUF adapter cannot hold use_dora" in caplog.text


def test_a_stop_ends_a_conversion(
    converter: Converter, base: Path, make: Callable[[], Conversions], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """At once, without a word and without a file; nothing begins afterwards."""
    converter.gate.clear()
    conversions = make()
    assert conversions.model(base, "bf16") is None
    eventually(lambda: converter.asked, "it has begun")
    conversions.close()
    assert kept(tmp_path) == []
    assert conversions.model(base, "bf16", 30) is None
    assert len(converter.asked) == 1
    assert caplog.records == []

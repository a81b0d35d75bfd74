"""Making the tokenizer, the model and the trainer of a job."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.training_worker import settings
from arkor.backend.training_worker.artifacts import CONFIG, WEIGHTS
from arkor.backend.training_worker.examples.data import Data
from arkor.backend.training_worker.limits.device import Device, attention_for
from arkor.backend.training_worker.limits.linear_layers import target_modules
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.errors import ArkorError


def load_tokenizer(path: str) -> Any:
    """Load a model's tokenizer; one that has no padding token pads with its end token.

    Raises:
        OSError: there is none, or it cannot be fetched.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(path)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def load_config(path: str) -> Any:
    """Load a model's configuration.

    Raises:
        OSError: there is none, or it cannot be fetched.
    """
    from transformers import AutoConfig

    return AutoConfig.from_pretrained(path)


def build_trainer(spec: WorkerSpec, device: Device, model_path: str, tokenizer: Any, data: Data) -> Any:
    """Load the model and make its ``SFTTrainer``, with a new adapter.

    Raises:
        OSError: the model cannot be loaded or fetched.
        ConfigError: the model lacks a module or a layer that the settings name.
    """
    from transformers import set_seed
    from trl import SFTConfig

    from arkor.backend.training_worker.loss import CountedLossTrainer, TokenMeanTrainer

    set_seed(spec.config.value("seed"))
    device = attrs.evolve(device, dtype=spec.config.dtype or device.dtype)
    arguments = settings.training_arguments(spec, device, data.receipt.max_length, evaluate=bool(data.eval))
    # TRL scores only the counted positions by itself where it has Triton.
    trainer_class = TokenMeanTrainer if device.is_cuda else CountedLossTrainer
    loaded = _load_model(spec, device, model_path, data.longest)
    trainer = trainer_class(
        model=loaded,
        args=SFTConfig(**arguments),
        train_dataset=data.train,
        eval_dataset=data.eval if data.eval else None,
        processing_class=tokenizer,
        peft_config=_lora(spec, loaded),
    )
    adapter = trainer.model.peft_config["default"]
    adapter.target_modules = sorted(adapter.target_modules)  # a set is written in another order by each process
    return trainer


def restore_adapter(model: Any, checkpoint: Path) -> None:
    """Load a checkpoint's adapter into a model that has one of the same shape."""
    from peft import load_peft_weights, set_peft_model_state_dict

    set_peft_model_state_dict(model, load_peft_weights(str(checkpoint), device="cpu"))


def take_base_adapter(model: Any, tar: Path, sha256: str) -> None:
    """Load the adapter that a job goes on from into a model that has one of the same shape.

    Args:
        model: of PEFT.
        tar: the adapter's archive.
        sha256: of the archive, as it was made.

    Raises:
        ArkorError: it is another one by now, or does not fit.
    """
    import safetensors.torch
    from peft import get_peft_model_state_dict, set_peft_model_state_dict

    content = tar.read_bytes()
    if hashlib.sha256(content).hexdigest() != sha256:
        raise ArkorError("The adapter that this job goes on from was changed on the disk: start a new job with another")
    with tarfile.open(fileobj=io.BytesIO(content)) as archive:
        file = archive.extractfile(WEIGHTS)
        assert file is not None  # it is a file: a worker packed it
        weights = safetensors.torch.load(file.read())
    if weights.keys() != get_peft_model_state_dict(model).keys():
        raise ArkorError("The adapter that this job goes on from has other modules: the base model was changed since")
    set_peft_model_state_dict(model, weights)


def _load_model(spec: WorkerSpec, device: Device, path: str, longest: int) -> Any:
    import torch
    from transformers import AutoModelForCausalLM

    config = load_config(path)
    how: dict[str, Any] = {"dtype": getattr(torch, device.dtype)}
    attention = attention_for(device, config, spec.config.value("batch_size"), longest)
    if attention is not None:
        how["attn_implementation"] = attention
    if spec.config.value("load_in_4bit"):
        how |= _four_bits(how["dtype"])
    return AutoModelForCausalLM.from_pretrained(path, **how)


def _four_bits(compute_dtype: Any) -> dict[str, Any]:
    from transformers import BitsAndBytesConfig

    quantization = BitsAndBytesConfig(
        load_in_4bit=True,
        bnb_4bit_quant_type="nf4",
        bnb_4bit_use_double_quant=True,
        bnb_4bit_compute_dtype=compute_dtype,
    )
    return {"quantization_config": quantization, "device_map": {"": 0}}


def _lora(spec: WorkerSpec, loaded: Any) -> Any:
    from peft import LoraConfig

    shape = {**settings.arguments_of(spec.config, "LoraConfig"), **_patterns(spec)}
    return LoraConfig(**shape, target_modules=target_modules(loaded, spec.config), task_type="CAUSAL_LM")


def _patterns(spec: WorkerSpec) -> dict[str, Any]:
    """Return the part of the shape of an imported adapter, which the job goes on from, that settings do not have."""
    tar = spec.job_dir / checkpoints.BASE_ADAPTER
    if not tar.is_file():
        return {}
    with tarfile.open(tar) as archive:
        file = archive.extractfile(CONFIG)
        assert file is not None  # it is a file: a worker packed it
        config = json.load(file)
    return {name: config[name] for name in ("rank_pattern", "alpha_pattern") if config.get(name)}

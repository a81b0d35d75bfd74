"""What the job's config says, and what holds where it says nothing, in the words of the libraries."""

from __future__ import annotations

import math
from typing import Any

import attrs

from arkor.backend.training_worker.device import Device
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.protocol.config import JobConfig

DRY_RUN_STEPS = 2
SEED = 42
DEFAULT_MAX_LENGTH = 1024
_EVAL_BATCH_FACTOR = 2  # no gradients are kept


@attrs.frozen
class LoraSettings:
    """The adapter's shape.

    Attributes:
        r: rank of the adapter's matrices.
        alpha: scale; the adapter's output is multiplied by ``alpha / r``.
    """

    r: int = 16
    alpha: float = 16


def lora_settings(config: JobConfig) -> LoraSettings:
    """Return the adapter's shape."""
    defaults = LoraSettings()
    return LoraSettings(config.lora_r or defaults.r, config.lora_alpha or defaults.alpha)


def batch_size(config: JobConfig) -> int:
    """Return the rows a step."""
    return config.batch_size or 4


def max_steps(config: JobConfig) -> int:
    """Return the optimizer steps to do, or -1 where the epochs decide."""
    if config.dry_run:
        return min(config.max_steps or DRY_RUN_STEPS, DRY_RUN_STEPS)
    return config.max_steps or -1


def total_steps(config: JobConfig, rows: int) -> int:
    """Return the optimizer steps that a training takes.

    Args:
        config: the job's settings.
        rows: how many rows it trains on, at least 1.
    """
    steps = max_steps(config)
    return steps if steps > 0 else math.ceil((config.num_train_epochs or 1.0) * math.ceil(rows / batch_size(config)))


def training_arguments(spec: WorkerSpec, device: Device, *, evaluate: bool) -> dict[str, Any]:
    """Return the arguments of ``trl.SFTConfig`` for a job.

    Args:
        spec: the attempt.
        device: where it runs.
        evaluate: whether rows are held out.
    """
    config = spec.config
    rows = batch_size(config)
    periodic = evaluate and config.eval_steps is not None
    return {
        "output_dir": str(spec.checkpoints_dir),
        "max_steps": max_steps(config),
        "num_train_epochs": config.num_train_epochs or 1.0,
        "learning_rate": config.learning_rate or 2e-4,
        "per_device_train_batch_size": rows,
        "per_device_eval_batch_size": rows * _EVAL_BATCH_FACTOR,
        "optim": config.optim or "adamw_torch",
        "lr_scheduler_type": config.lr_scheduler_type or "linear",
        "weight_decay": config.weight_decay or 0.0,
        "warmup_steps": config.warmup_steps or 0,
        "logging_steps": config.logging_steps or 1,
        "logging_nan_inf_filter": False,  # a loss that is lost has to be seen
        "eval_strategy": "steps" if periodic else "no",
        "eval_steps": config.eval_steps if periodic else None,
        "prediction_loss_only": True,
        "save_strategy": "no",  # the callback decides
        "seed": SEED,
        "max_length": config.max_length or DEFAULT_MAX_LENGTH,
        "dataset_kwargs": {"skip_prepare_dataset": True},  # the rows are tokenised and labelled already
        "report_to": "none",
        "disable_tqdm": True,
        **_numbers(device),
    }


def _numbers(device: Device) -> dict[str, Any]:
    # SFTConfig's own defaults, bfloat16 and gradient checkpointing, raise or slow down on a CPU.
    return {
        "use_cpu": device.is_cpu,
        "bf16": device.dtype == "bfloat16",
        "fp16": device.dtype == "float16",
        "gradient_checkpointing": not device.is_cpu,
        "dataloader_pin_memory": not device.is_cpu,
    }

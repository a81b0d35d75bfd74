"""The job's settings as arguments of the libraries, most of them straight from the table of settings.

Protocol: docs/protocol.md, "The config object".
"""

from __future__ import annotations

import math
from typing import Any

from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.spec import WorkerSpec
from arkor.protocol.config import BEST_BY_ANSWERS, SETTINGS, JobConfig

DRY_RUN_STEPS = 2
_EVAL_BATCH_FACTOR = 2  # no gradients are kept


def arguments_of(config: JobConfig, target: str) -> dict[str, Any]:
    """Return the arguments of a class of TRL or PEFT that the table of settings fills in.

    Args:
        config: the job's settings.
        target: ``SFTConfig`` or ``LoraConfig``.
    """
    rows = ((setting.name, *setting.argument.split(".")) for setting in SETTINGS.values() if setting.argument)
    return {argument: config.value(name) for name, owner, argument in rows if owner == target}


def max_steps(config: JobConfig) -> int:
    """Return the optimizer steps to do, or -1 if the epochs decide."""
    if config.dry_run:
        return min(config.max_steps or DRY_RUN_STEPS, DRY_RUN_STEPS)
    return config.max_steps or -1


def total_steps(config: JobConfig, rows: int) -> int:
    """Return the optimizer steps that a training takes, counted as transformers does.

    Args:
        config: the job's settings.
        rows: how many rows it trains on, at least 1.
    """
    steps = max_steps(config)
    if steps > 0:
        return steps
    epochs: float = config.value("num_train_epochs")
    batches: int = math.ceil(rows / (config.value("batch_size") * config.value("devices")))
    steps_per_epoch: int = math.ceil(batches / config.value("gradient_accumulation_steps"))
    return math.ceil(epochs * steps_per_epoch)


def training_arguments(spec: WorkerSpec, device: Device, max_length: int, *, evaluate: bool) -> dict[str, Any]:
    """Return the arguments of ``trl.SFTConfig`` for a job.

    Args:
        spec: the attempt.
        device: where it runs.
        max_length: tokens of the longest example that is allowed.
        evaluate: whether rows are held out.
    """
    config = spec.config
    periodic = evaluate and config.eval_steps is not None
    return {
        **arguments_of(config, "SFTConfig"),
        "output_dir": str(spec.checkpoints_dir),
        "max_steps": max_steps(config),
        "max_length": max_length,
        "per_device_eval_batch_size": eval_batch_size(config),
        "logging_nan_inf_filter": False,  # a loss that is lost has to be seen
        "eval_strategy": "steps" if periodic else "no",
        "eval_steps": config.eval_steps if periodic else None,
        "prediction_loss_only": True,
        "save_strategy": "no",  # the callback decides
        "dataset_kwargs": {"skip_prepare_dataset": True},  # the rows are tokenised and labelled already
        "report_to": "none",
        "disable_tqdm": True,
        # SFTConfig's own defaults, bfloat16 and gradient checkpointing, raise or slow down on a CPU.
        "use_cpu": device.is_cpu,
        "bf16": device.dtype == "bfloat16",
        "fp16": device.dtype == "float16",
        "gradient_checkpointing": computes_twice(config, device),
        "dataloader_pin_memory": device.is_cuda,
        # Some modules with an adapter may take no part in a step, and DDP waits for the gradients of all.
        "ddp_find_unused_parameters": True if config.value("devices") > 1 else None,
    }


def eval_batch_size(config: JobConfig) -> int:
    """Return how many rows a batch of an evaluation has."""
    return config.eval_batch_size or config.value("batch_size") * _EVAL_BATCH_FACTOR


def best_by(config: JobConfig) -> tuple[str, bool]:
    """Return what makes an evaluation the best, by its key in the trainer's log, and whether a greater value is better.

    The prefix may be left out, as in transformers.
    """
    if score_of(config) is not None:
        return "eval_score", config.greater_is_better is not False
    metric = "eval_" + config.value("metric_for_best_model").removeprefix("eval_")
    return metric, metric != "eval_loss" if config.greater_is_better is None else config.greater_is_better


def score_of(config: JobConfig) -> str | None:
    """Return the score of answers by which evaluations are compared; None if they are compared by tokens."""
    metric = config.metric_for_best_model
    return metric if metric in BEST_BY_ANSWERS else None


def computes_twice(config: JobConfig, device: Device) -> bool:
    """Say whether a job uses gradient checkpointing."""
    return not device.is_cpu if config.gradient_checkpointing is None else config.gradient_checkpointing

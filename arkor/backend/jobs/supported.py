"""Which settings this backend can do: each does what it says, or the job is refused by the setting's name.

Protocol: docs/protocol.md, "Jobs": the 422 of ``POST /v1/jobs``.
"""

from __future__ import annotations

import importlib.util
import re
from collections.abc import Mapping
from typing import Any
from urllib.parse import urlsplit

from arkor.backend.models import hardware
from arkor.data.columns import check_columns
from arkor.data.formats import FORMATS, name_list
from arkor.data.hub_names import check_hub_name
from arkor.errors import ConfigError
from arkor.protocol import wire
from arkor.protocol.checks import FLAG, Json, whole
from arkor.protocol.config import JobConfig
from arkor.protocol.evaluations import EvaluationOptions
from arkor.text import many, short_repr

# What transformers runs with torch alone. Its other names need packages that this backend does not install.
OPTIMIZERS = ("adafactor", "adagrad", "adamw_torch", "adamw_torch_fused", "rmsprop", "sgd")
# What it runs with bitsandbytes and CUDA.
BITSANDBYTES_OPTIMIZERS = (
    *("adamw_8bit", "adamw_bnb_8bit", "ademamix_8bit", "lion_8bit", "lion_32bit", "rmsprop_bnb_8bit"),
    *("paged_adamw_32bit", "paged_adamw_8bit", "paged_ademamix_8bit", "paged_lion_32bit", "paged_lion_8bit"),
)
# What transformers runs without arguments of their own, for which the config has no fields.
SCHEDULERS = (
    "constant",
    "constant_with_warmup",
    "cosine",
    "cosine_with_restarts",
    "inverse_sqrt",
    "linear",
    "polynomial",
)

_BEST = ("load_best_model_at_end", "early_stopping_patience")
_OF_BEST = ("metric_for_best_model", "greater_is_better")
_SOURCE_KEYS = {
    "dataset": ({"id"}, set()),
    "blob": ({"url"}, {"token"}),
    "huggingface": ({"name"}, {"split", "subset"}),
}
_OF_COLUMNS = {"blob", "huggingface"}
_SPLIT_SEED = whole(-(2**63), 2**63 - 1)
_SHA256 = re.compile(r"[0-9a-f]{64}")


def check_config(config: JobConfig, *, trains_here: bool = True) -> None:
    """Check that this backend can do what a config asks; quick, without network or torch.

    Args:
        config: a config whose values are in their ranges.
        trains_here: whether this machine has to have the devices and the packages, and not a cluster.

    Raises:
        ConfigError: it cannot; ``field`` names the setting.
    """
    for key in sorted(config.extra):
        raise ConfigError(name_list([wire.python_name(key)]), "is not a setting that this backend knows")
    _check_name("optim", config.optim, (*OPTIMIZERS, *BITSANDBYTES_OPTIMIZERS))
    _check_name("lr_scheduler_type", config.lr_scheduler_type, SCHEDULERS)
    if config.base_adapter is not None:
        _check_keys("base_adapter", "an adapter", config.base_adapter, {"kind", "jobId"}, {"step", "sha256"})
    check_source("dataset_source", config.dataset_source)
    if config.eval_dataset_source is not None:
        check_source("eval_dataset_source", config.eval_dataset_source)
    if config.train_on_responses_only is not None and not FLAG.accepts(config.train_on_responses_only):
        seen = short_repr(config.train_on_responses_only)
        raise ConfigError("train_on_responses_only", f"must be {FLAG.words} on this backend, not {seen}")
    _check_format(config)
    if config.dataset_split is not None:
        split = _mapping("dataset_split", config.dataset_split, '{"evalFraction": …} or {"train": …, "eval": …}')
        _check_split(split, config.dataset_source)
    if config.eval_steps is not None and not holds_out(config):
        raise ConfigError("eval_steps", "needs rows that are held out: set eval_dataset or dataset_split")
    if config.eval_batch_size is not None and not holds_out(config):
        raise ConfigError("eval_batch_size", "needs rows that are held out: set eval_dataset or dataset_split")
    if config.save_total_limit is not None and config.save_steps is None:
        raise ConfigError("save_total_limit", "limits the checkpoints that save_steps asks for: set save_steps")
    if config.value("devices") > 1 and config.full_determinism:
        raise ConfigError(
            "devices", "must be 1 with full_determinism: how the sums of several devices are rounded is up to them"
        )
    _check_best(config)
    if isinstance(config.sample_prompts, int) and not holds_out(config):
        raise ConfigError(
            "sample_prompts",
            "asks rows that are held out, and there are none: set eval_dataset or dataset_split, or give the prompts",
        )
    _check_evaluation(config)
    if trains_here:
        _check_machine(config)


def _check_machine(config: JobConfig) -> None:
    if config.load_in_4bit:
        _check_bitsandbytes("load_in_4bit", "")
    if config.optim in BITSANDBYTES_OPTIMIZERS:
        _check_bitsandbytes("optim", f"{config.optim!r} ")
    _check_devices(config)
    if config.dtype == "float16" and not hardware.has_cuda():
        raise ConfigError("dtype", "float16 needs a CUDA device, and this machine has none: use bfloat16 or float32")


def holds_out(config: JobConfig) -> bool:
    """Whether a job keeps rows aside that it does not train on."""
    split = wire.mapping(config.dataset_split)
    return config.eval_dataset_source is not None or split.get("evalFraction") is not None or bool(split.get("eval"))


def _check_name(field: str, value: str | None, known: tuple[str, ...]) -> None:
    if value is not None and value not in known:
        raise ConfigError(field, f"must be one of {', '.join(known)} on this backend, not {value!r}")


def check_source(field: str, source: Mapping[str, Any]) -> None:
    """Check the form of a source of rows.

    Raises:
        ConfigError: it has another one; ``field`` is named.
    """
    kind = source.get("type")
    if not isinstance(kind, str) or kind not in _SOURCE_KEYS:
        raise ConfigError(field, f"type must be one of {', '.join(sorted(_SOURCE_KEYS))}, not {kind!r}")
    required, optional = _SOURCE_KEYS[kind]
    of_columns = {"columns"} if kind in _OF_COLUMNS else set()
    _check_keys(field, f"a source of type {kind}", source, required, optional | of_columns | {"type"})
    check_columns(field, source.get("columns"))
    for key in required | optional:
        if source.get(key) is not None and (not isinstance(source[key], str) or not source[key].strip()):
            raise ConfigError(field, f"{key} must be a text that is not empty")
    if kind == "blob":
        _check_url(field, source["url"])
    if kind == "huggingface":
        check_hub_name(field, source["name"])
    if kind == "dataset" and not _SHA256.fullmatch(source["id"]):
        raise ConfigError(field, "id must be the lowercase hex SHA-256 of an uploaded data set")


def _check_url(field: str, url: str) -> None:
    try:
        parts = urlsplit(url)
        good = parts.scheme in {"http", "https"} and bool(parts.hostname)
    except ValueError:  # a malformed IPv6 address
        good = False
    if not good:
        raise ConfigError(field, "url must be an http or https URL that the backend can fetch")


def _check_keys(field: str, what: str, value: Mapping[str, Any], required: set[str], optional: set[str]) -> None:
    missing = sorted(key for key in required if value.get(key) is None)
    unknown = sorted(set(value) - required - optional)
    if missing or unknown:
        fault = f"needs {', '.join(missing)}" if missing else f"has no {name_list(unknown)}"
        raise ConfigError(field, f"{what} {fault}")


def _mapping(field: str, value: Json, form: str) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(field, f"must be {form} on this backend, not {short_repr(value)}")
    return value


def _check_format(config: JobConfig) -> None:
    if config.dataset_format is None:
        return
    known = f"one of {', '.join(sorted(FORMATS))}"
    given = _mapping("dataset_format", config.dataset_format, f'{{"type": …}} with {known}')
    kind = given.get("type")
    if not isinstance(kind, str) or kind not in FORMATS:
        raise ConfigError("dataset_format", f"type must be {known}, not {kind!r:.100}")
    _check_keys("dataset_format", "a format", given, {"type"}, set())
    if kind == "text" and config.train_on_responses_only:
        raise ConfigError("train_on_responses_only", "cannot be True with text rows: nothing in them is a response")


def _check_split(split: Mapping[str, Any], source: Mapping[str, Any]) -> None:
    if "evalFraction" in split:
        _check_keys("dataset_split", "a split by fraction", split, {"evalFraction"}, {"seed"})
        fraction, seed = split["evalFraction"], split.get("seed")
        if isinstance(fraction, bool) or not isinstance(fraction, (int, float)) or not 0 < fraction < 1:
            raise ConfigError("dataset_split", f"evalFraction must be a number between 0 and 1, not {fraction!r:.100}")
        if seed is not None and not _SPLIT_SEED.accepts(seed):
            raise ConfigError("dataset_split", f"seed must be {_SPLIT_SEED.words}, not {seed!r:.100}")
        return
    if not split.get("train") and not split.get("eval"):
        raise ConfigError("dataset_split", "must have evalFraction, or name the splits train and eval")
    _check_keys("dataset_split", "a split by name", split, set(), {"train", "eval"})
    if any(not isinstance(name, str) or not name for name in split.values()):
        raise ConfigError("dataset_split", "train and eval must be names of splits")
    if source["type"] != "huggingface":
        raise ConfigError("dataset_split", "only data sets of the hub have named splits: give evalFraction for a file")
    if source.get("split") and split.get("train") and source["split"] != split["train"]:
        raise ConfigError(
            "dataset_split", f"train is {split['train']!r}, but the source's split is {source['split']!r}"
        )


def _check_best(config: JobConfig) -> None:
    wanted = [name for name in _BEST if getattr(config, name)]
    if wanted and config.eval_steps is None:
        raise ConfigError(wanted[0], "needs evaluations during the training: set eval_steps")
    for name in _OF_BEST:
        if getattr(config, name) is not None and not wanted:
            raise ConfigError(name, f"changes nothing without {' or '.join(_BEST)}")
    if config.early_stopping_threshold is not None and config.early_stopping_patience is None:
        raise ConfigError("early_stopping_threshold", "changes nothing without early_stopping_patience")


def _check_evaluation(config: JobConfig) -> None:
    if config.evaluation is None:
        return
    options = EvaluationOptions.from_wire(config.evaluation)
    if options.source is None and options.limit and not holds_out(config):
        raise ConfigError("evaluation", "needs rows that are held out: set eval_dataset or dataset_split, or name rows")
    steps = [step for step in options.checkpoints if config.save_steps is None or step % config.save_steps]
    if steps:
        raise ConfigError("evaluation", f"names a checkpoint of step {steps[0]}, which save_steps does not save")


def _check_devices(config: JobConfig) -> None:
    devices, most = config.value("devices"), hardware.most_devices()
    if devices > most:
        there = many(most, "GPU" if hardware.has_cuda() or hardware.has_mps() else "processor core")
        raise ConfigError("devices", f"must be at most {most} on this backend, which has {there}, not {devices}")


def _check_bitsandbytes(field: str, what: str) -> None:
    if not hardware.has_cuda():
        raise ConfigError(field, f"{what}needs a CUDA device, and this machine has none")
    if importlib.util.find_spec("bitsandbytes") is None:
        raise ConfigError(field, f"{what}needs the package bitsandbytes where the backend runs: pip install it")

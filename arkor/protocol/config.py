"""The settings of a training job: one table, as the fields of ``JobConfig``, and the LoRA group that users write apart.

Each field says its range, what it means, the self-hosted backend's default, and the argument of TRL or PEFT that it
becomes. The trainer checks the ranges before anything is sent, and the self-hosted backend checks them again; the
training worker makes its arguments of the table; the table in docs/protocol.md is generated from it.

Protocol: docs/protocol.md, "Jobs": the config object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import attrs

from arkor.errors import ConfigError
from arkor.options import known_options
from arkor.protocol import wire
from arkor.protocol.checks import FLAG, JSON, MAPPING, SHARE, TEXT, Check, one_of, real, whole
from arkor.protocol.jobs import AdapterRef
from arkor.protocol.metrics import EVAL_METRICS
from arkor.protocol.samples import SAMPLE_PROMPTS

LARGEST_SEED = 2**32 - 1  # what NumPy takes
_MOST_STEPS = 10**9
_MOST_NAMES = 1000
_MOST = 10**6  # of everything that has no limit of its own
SMALL_MODEL = 400_000_000  # parameters: such models want higher rates than the default
ALL_LINEAR = "all-linear"
DTYPES = ("bfloat16", "float16", "float32")
SAMPLING_STRATEGIES = ("random", "sequential", "group_by_length")
FIRST_WEIGHTS = (True, False, "gaussian", "orthogonal")
# What makes an evaluation the best: measured on the tokens of held-out rows, or a score of the answers to them.
BEST_BY_TOKENS = tuple(metric.trainer_key for metric in EVAL_METRICS if metric.name != "eval_score")
BEST_BY_ANSWERS = (
    *("exact_match", "accuracy", "f1", "json_fields", "json_exact", "json_valid", "number_match"),
    *("chrf", "rouge_l", "call_exact", "call_name"),
)
BEST_BY = (*BEST_BY_TOKENS, *(name.removeprefix("eval_") for name in BEST_BY_TOKENS), *BEST_BY_ANSWERS)
DROPPABLE = ("content", "reasoning_content", "tool_calls", "tools")
EXCESS_LENGTHS = ("truncate", "drop", "error")
# What transformers, and the backend, pass to a chat template themselves.
_OF_TEMPLATES = frozenset(
    (
        *("add_generation_prompt", "chat_template", "continue_final_message", "conversation", "documents"),
        *("max_length", "messages", "padding", "return_assistant_tokens_mask", "return_dict", "return_tensors"),
        *("sanitize_control_tokens", "tokenize", "tokenizer_kwargs", "tools", "truncation"),
    )
)


def _are_template_kwargs(value: Any) -> bool:
    names = value if MAPPING.accepts(value) else ("",)
    return all(
        isinstance(name, str) and name.isidentifier() and name not in _OF_TEMPLATES and not name.endswith("_token")
        for name in names
    )


def _are_droppable(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and all(isinstance(name, str) and name in DROPPABLE for name in value)


def _is_warmup(value: Any) -> bool:
    return _STEPS.accepts(value) or (SHARE.accepts(value) and value < 1)


def _are_names(value: Any) -> bool:
    return isinstance(value, (list, tuple)) and 0 < len(value) <= _MOST_NAMES and all(map(TEXT.accepts, value))


def _are_layers(value: Any) -> bool:
    numbers = value if isinstance(value, (list, tuple)) else [value]
    return 0 < len(numbers) <= _MOST_NAMES and all(map(_LAYER.accepts, numbers))


def _is_adapter(value: Any) -> bool:
    return MAPPING.accepts(value) and AdapterRef.from_wire(value) is not None


_STEPS = whole(1, _MOST_STEPS)
_BATCH = whole(1, _MOST)
_RANK = whole(1, 2**14)
_SCALE = real(0, _MOST, above=True)
_ROW_TOKENS = whole(8, 10**7)
_LAYER = whole(0, 10**4)
_WARMUP = Check(_is_warmup, "a whole number of steps, or a number below 1 as a share of them")
_NAMES = Check(_are_names, f"a list of 1 to {_MOST_NAMES} names of modules")
_MODULES = Check(lambda value: value == ALL_LINEAR or _are_names(value), f"{ALL_LINEAR}, or {_NAMES.words}")
_ADAPTER = Check(_is_adapter, 'like {"kind": "final", "jobId": …} or {"kind": "checkpoint", "jobId": …, "step": …}')
_LAYERS = Check(_are_layers, f"the number of a layer from 0, or a list of 1 to {_MOST_NAMES} numbers")


@attrs.frozen(kw_only=True)
class Setting:
    """A row of the table of settings.

    Attributes:
        name: the field of ``JobConfig``; the wire name follows from it.
        check: its range.
        meaning: what it is, with its unit.
        default: what the self-hosted backend does without it, in words.
        value: the value that stands for that default; None if there is no such value.
        argument: the argument of TRL or PEFT that it becomes as it is, such as ``SFTConfig.learning_rate``; empty for
            a setting that the worker itself reads.
        of_rows: whether it changes what the model sees of the rows.
    """

    name: str
    check: Check
    meaning: str
    default: str
    value: Any = None
    argument: str = ""
    of_rows: bool = False


def _setting(
    check: Check,
    meaning: str,
    *,
    value: Any = None,
    default: str = "",
    argument: str = "",
    required: bool = False,
    of_rows: bool = False,
    hash: bool | None = None,
) -> Any:
    row = {"check": check, "meaning": meaning, "value": value, "argument": argument, "of_rows": of_rows}
    row["default"] = "required" if required else default or _in_words(value)
    return attrs.field(default=attrs.NOTHING if required else None, validator=check, hash=hash, metadata=row)


def _in_words(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return f"`{value}`" if isinstance(value, str) else f"{value:g}"


@known_options
@attrs.frozen
class LoraConfig:
    """The adapter's shape.

    Args:
        r: rank of the adapter's matrices, 1 to 16384; 16 by default.
        alpha: scale, above 0, at most 1e6; the adapter's output is multiplied by ``alpha / r``. 16 by default.
        max_length: longest example in tokens, 8 to 1e7; longer ones are cut, see ``excess_length`` of ``Trainer``. The
            backend decides by default.
        load_in_4bit: keep the base model's weights in 4 bits (needs a CUDA device). The backend decides by default.
        target_modules: the modules that get an adapter: a list of names or ends of names, such as
            ``["q_proj", "v_proj"]``. By default ``all-linear``: all linear layers but the one that makes the logits.
        dropout: share of an adapter's inputs that is set to 0 in training, 0 to 1; 0 by default.
        use_rslora: scale by ``alpha / sqrt(r)`` in place of ``alpha / r``; False by default.
        use_dora: learn the size of the weights apart from their direction (DoRA). A step takes more time, and chats
            with the adapter are answered one by one. False by default.
        init_lora_weights: the first weights, as PEFT names them: True (the adapter changes nothing at first), False
            (random), ``gaussian`` or ``orthogonal``. True by default.
        layers_to_transform: numbers of the layers that get an adapter, from 0; by default all of them.
        modules_to_save: modules that are trained whole and kept with the adapter, such as ``["lm_head"]``. They take
            memory for all of their weights, and chats with the adapter are answered one by one. None by default.

    Raises:
        ConfigError: a value is out of its range.

    Example:
        ``LoraConfig(r=8, alpha=16, max_length=512)``
    """

    r: int = attrs.field(default=16, validator=_RANK)
    alpha: float = attrs.field(default=16, validator=_SCALE)
    max_length: int | None = attrs.field(default=None, validator=_ROW_TOKENS, kw_only=True)
    load_in_4bit: bool | None = attrs.field(default=None, validator=FLAG, kw_only=True)
    target_modules: str | Sequence[str] | None = attrs.field(default=None, validator=_MODULES, kw_only=True)
    dropout: float | None = attrs.field(default=None, validator=SHARE, kw_only=True)
    use_rslora: bool | None = attrs.field(default=None, validator=FLAG, kw_only=True)
    use_dora: bool | None = attrs.field(default=None, validator=FLAG, kw_only=True)
    init_lora_weights: bool | str | None = attrs.field(default=None, validator=one_of(*FIRST_WEIGHTS), kw_only=True)
    layers_to_transform: int | Sequence[int] | None = attrs.field(default=None, validator=_LAYERS, kw_only=True)
    modules_to_save: Sequence[str] | None = attrs.field(default=None, validator=_NAMES, kw_only=True)

    @classmethod
    def parse(cls, value: LoraConfig | Mapping[str, Any]) -> LoraConfig:
        """Return a LoraConfig as it is, or make one of a mapping with its names (or their wire names)."""
        if isinstance(value, LoraConfig):
            return value
        if not isinstance(value, Mapping):
            raise ConfigError("lora", f"must be a LoraConfig or a mapping, not {value!r}")
        arguments = {wire.python_name(key): item for key, item in value.items()}
        known = [field.name for field in attrs.fields(cls)]
        unknown = sorted(set(arguments) - set(known))
        if unknown:
            raise ConfigError("lora", f"has no setting {', '.join(unknown)}; it has {', '.join(known)}")
        return cls(**arguments)

    def to_settings(self) -> dict[str, Any]:
        """Return the arguments of JobConfig that it stands for."""
        return {
            "lora_r": self.r,
            "lora_alpha": self.alpha,
            "max_length": self.max_length,
            "load_in_4bit": self.load_in_4bit,
            "lora_target_modules": _listed(self.target_modules),
            "lora_dropout": self.dropout,
            "use_rslora": self.use_rslora,
            "use_dora": self.use_dora,
            "init_lora_weights": self.init_lora_weights,
            "layers_to_transform": _listed(self.layers_to_transform),
            "modules_to_save": _listed(self.modules_to_save),
        }


def _listed(value: Any) -> Any:
    """Return a tuple as a list, as it comes back from a backend."""
    return list(value) if isinstance(value, tuple) else value


@attrs.frozen(kw_only=True)
class JobConfig:
    """What a job is asked to do. A field that is None was not given, and does not travel.

    ``SETTINGS`` is the same as a table; the fields below say what each means, its range and its default.

    Attributes:
        extra: fields this version does not know.

    Raises:
        ConfigError: a value is out of its range; ``field`` names it.
    """

    model: str = _setting(
        TEXT,
        "a name the backend knows, a Hugging Face id, or a folder on the backend's machine",
        required=True,
    )
    base_adapter: Mapping[str, Any] | None = _setting(
        _ADAPTER, "the adapter that the job goes on from, see below", default="a new adapter", hash=False
    )
    dataset_source: Mapping[str, Any] = _setting(
        MAPPING, "the source of the rows, see below", required=True, hash=False
    )
    dataset_format: bool | float | str | Sequence[Any] | Mapping[str, Any] | None = _setting(
        JSON,
        'self-hosted: `{"type": "chatml"}`, or `prompt_completion`, `alpaca`, `text`',
        default="detected, and reported in `training.started`",
        of_rows=True,
        hash=False,
    )
    dataset_split: bool | float | str | Sequence[Any] | Mapping[str, Any] | None = _setting(
        JSON, "the rows to hold out, see below", default="no rows are held out", of_rows=True, hash=False
    )
    eval_dataset_source: Mapping[str, Any] | None = _setting(
        MAPPING,
        "the source of the held-out rows, in place of `datasetSplit`; see below",
        default="see `datasetSplit`",
        hash=False,
    )
    max_steps: int | None = _setting(
        _STEPS,
        "optimizer steps; wins over `numTrainEpochs`",
        default="as many as the epochs need",
    )
    num_train_epochs: float | None = _setting(
        real(0, _MOST, above=True), "passes over the rows", value=1.0, argument="SFTConfig.num_train_epochs"
    )
    learning_rate: float | None = _setting(
        real(0, _MOST, above=True), "peak step size, dimensionless", value=2e-4, argument="SFTConfig.learning_rate"
    )
    batch_size: int | None = _setting(
        _BATCH, "rows in a batch", value=4, argument="SFTConfig.per_device_train_batch_size"
    )
    gradient_accumulation_steps: int | None = _setting(
        _BATCH,
        "batches in an optimizer step: a step takes `batchSize` times as many rows",
        value=1,
        argument="SFTConfig.gradient_accumulation_steps",
    )
    devices: int | None = _setting(
        whole(1, 2**10),
        "devices that the job trains on, see [Devices](#devices): each takes batches of its own, so a step takes "
        "`devices` times as many rows",
        value=1,
    )
    eval_batch_size: int | None = _setting(
        _BATCH, "rows in a batch of an evaluation", default="twice `batchSize`: no gradients are kept"
    )
    optim: str | None = _setting(
        TEXT, "the optimizer, as transformers names it", value="adamw_torch", argument="SFTConfig.optim"
    )
    lr_scheduler_type: str | None = _setting(
        TEXT, "the schedule, as transformers names it", value="linear", argument="SFTConfig.lr_scheduler_type"
    )
    weight_decay: float | None = _setting(
        real(0, _MOST), "pull of the weights to 0, dimensionless", value=0.0, argument="SFTConfig.weight_decay"
    )
    max_grad_norm: float | None = _setting(
        real(0, 10**12),
        "longest gradient, as an L2 norm: a longer one is scaled down to it; 0 turns this off",
        value=1.0,
        argument="SFTConfig.max_grad_norm",
    )
    warmup_steps: float | None = _setting(
        _WARMUP,
        "steps until the peak; below 1 it is a share of all steps",
        value=0,
        argument="SFTConfig.warmup_steps",
    )
    neftune_noise_alpha: float | None = _setting(
        real(0, _MOST, above=True),
        "size of the noise on the embeddings in training (NEFTune), often 5 to 15",
        default="no noise",
        argument="SFTConfig.neftune_noise_alpha",
    )
    train_sampling_strategy: str | None = _setting(
        one_of(*SAMPLING_STRATEGIES),
        "the order of the rows: `random`, `sequential`, or `group_by_length`, which puts rows of like length together",
        value="random",
        argument="SFTConfig.train_sampling_strategy",
    )
    dtype: str | None = _setting(
        one_of(*DTYPES),
        "number type of the base model's weights; `float16` needs CUDA",
        default="`float32` on a CPU and on a Mac, `bfloat16` where the CUDA device has it, else `float16`",
    )
    gradient_checkpointing: bool | None = _setting(
        FLAG,
        "compute the layers a second time in the backward pass: less memory, more time",
        default="true on a GPU, false on a CPU",
    )
    logging_steps: int | None = _setting(
        _STEPS, "steps between two log events", value=1, argument="SFTConfig.logging_steps"
    )
    save_steps: int | None = _setting(_STEPS, "steps between two checkpoints", default="only the final adapter is kept")
    save_total_limit: int | None = _setting(
        whole(1, _MOST),
        "the most checkpoints that are kept, the newest and that of the best evaluation; needs `saveSteps`",
        default="all checkpoints are kept",
    )
    eval_steps: int | None = _setting(
        _STEPS,
        "steps between two evaluations",
        default="one evaluation at the end, if rows are held out",
    )
    load_best_model_at_end: bool | None = _setting(
        FLAG,
        "keep the adapter of the best evaluation as the final one; needs `evalSteps`",
        value=False,
    )
    metric_for_best_model: str | None = _setting(
        one_of(*BEST_BY),
        "what makes an evaluation the best: its `eval_loss`; `eval_mean_token_accuracy`, the share of the counted "
        "tokens that are the model's likeliest ones; or a score that a report has, of the answers to at most 50 "
        "held-out rows",
        value="eval_loss",
    )
    greater_is_better: bool | None = _setting(
        FLAG, "whether a greater value of that is better", default="false for `eval_loss`, else true"
    )
    early_stopping_patience: int | None = _setting(
        whole(1, _MOST),
        "evaluations in a row that are no better than the best one before them, until the training stops; needs "
        "`evalSteps`. The job completes",
        default="the training does not stop early",
    )
    early_stopping_threshold: float | None = _setting(
        real(0, _MOST), "by how much an evaluation has to be better for `earlyStoppingPatience`", value=0.0
    )
    sample_prompts: int | Sequence[Any] | None = _setting(
        SAMPLE_PROMPTS,
        "what the model is asked before the first step, at each checkpoint (without `saveSteps`, at each evaluation) "
        "and after the last step: so many held-out rows, or these prompts; see [Samples](#samples)",
        default="nothing is asked",
        hash=False,
    )
    sample_budget: float | None = _setting(
        real(0, 1, above=True),
        "the most that the answers may take, as a share of the training's time; with 1 there is no limit",
        value=0.05,
    )
    apply_chat_template: bool | None = _setting(
        FLAG,
        "whether texts of prompt and completion become a question and an answer of a chat; false keeps them as text",
        value=True,
        of_rows=True,
    )
    chat_template_kwargs: Mapping[str, Any] | None = _setting(
        Check(_are_template_kwargs, f"{MAPPING.words}, of names that the chat template knows"),
        'variables of the chat template, such as `{"enable_thinking": false}`; chats with the adapter get the same',
        default="the template's defaults",
        of_rows=True,
        hash=False,
    )
    escape_special_tokens: bool | None = _setting(
        FLAG,
        "keep special tokens in the text of messages, such as `</s>`, text; chats with the adapter do the same",
        value=False,
        of_rows=True,
    )
    allow_dropped_fields: Sequence[str] | None = _setting(
        Check(_are_droppable, f"a list of {', '.join(DROPPABLE)}"),
        "parts of a row that the chat template may leave out; otherwise such a row fails the job",
        default="none",
        of_rows=True,
        hash=False,
    )
    train_on_responses_only: bool | float | str | Sequence[Any] | Mapping[str, Any] | None = _setting(
        JSON,
        "self-hosted, true or false: whether the loss counts only what the assistant says",
        default="true, if the format has responses",
        of_rows=True,
        hash=False,
    )
    seed: int | None = _setting(
        whole(0, LARGEST_SEED),
        "of the random numbers: the order of the rows, the adapter's first weights",
        value=42,
        argument="SFTConfig.seed",
    )
    data_seed: int | None = _setting(
        whole(0, LARGEST_SEED), "of the order of the rows alone", default="`seed`", argument="SFTConfig.data_seed"
    )
    full_determinism: bool | None = _setting(
        FLAG,
        "the adapter has the same bytes each time, on the same machine with the same versions: the number of threads "
        "is fixed, batches are not divided if memory lacks, and kernels add numbers in a fixed order",
        value=False,
        argument="SFTConfig.full_determinism",
    )
    lora_r: int | None = _setting(_RANK, "rank of the adapter", value=16, argument="LoraConfig.r")
    lora_alpha: float | None = _setting(
        _SCALE,
        "scale of the adapter: its output is multiplied by `loraAlpha / loraR`",
        value=16,
        argument="LoraConfig.lora_alpha",
    )
    lora_target_modules: str | Sequence[str] | None = _setting(
        _MODULES,
        "the modules that get an adapter: `all-linear`, or a list of names or ends of names, such as `q_proj`",
        value=ALL_LINEAR,
        hash=False,
    )
    lora_dropout: float | None = _setting(
        SHARE,
        "share of an adapter's inputs that is set to 0 in training",
        value=0.0,
        argument="LoraConfig.lora_dropout",
    )
    use_rslora: bool | None = _setting(
        FLAG,
        "scale the adapter by `loraAlpha / sqrt(loraR)` in place of `loraAlpha / loraR`",
        value=False,
        argument="LoraConfig.use_rslora",
    )
    use_dora: bool | None = _setting(
        FLAG,
        "learn the size of the weights apart from their direction (DoRA): more time a step, and chats with the adapter "
        "are answered one by one",
        value=False,
        argument="LoraConfig.use_dora",
    )
    init_lora_weights: bool | str | None = _setting(
        one_of(*FIRST_WEIGHTS),
        "the adapter's first weights, as PEFT names them; with true the adapter changes nothing at first",
        value=True,
        argument="LoraConfig.init_lora_weights",
    )
    layers_to_transform: int | Sequence[int] | None = _setting(
        _LAYERS,
        "numbers of the layers that get an adapter, from 0",
        default="all layers",
        argument="LoraConfig.layers_to_transform",
        hash=False,
    )
    modules_to_save: Sequence[str] | None = _setting(
        _NAMES,
        "modules that are trained whole, and kept with the adapter, such as `lm_head`: more memory, and chats with the "
        "adapter are answered one by one",
        default="none",
        argument="LoraConfig.modules_to_save",
        hash=False,
    )
    max_length: int | None = _setting(
        _ROW_TOKENS,
        "longest example in tokens; see `excessLength` for longer ones",
        default="the longest row, at most the model's context, 2,048 on a CPU, and an estimate for a GPU's memory",
        of_rows=True,
    )
    excess_length: str | None = _setting(
        one_of(*EXCESS_LENGTHS),
        "what becomes of a row that is longer than `maxLength`",
        default="`truncate` with a `maxLength`, `drop` without; the job fails if more than 1 % of the rows are lost",
        of_rows=True,
    )
    load_in_4bit: bool | None = _setting(FLAG, "keep the base model in 4 bits; needs CUDA", value=False)
    evaluation: Mapping[str, Any] | None = _setting(
        MAPPING,
        "the options of an evaluation that follows the job, see [Evaluations](#evaluations); `{}` for the defaults",
        default="only the check is made, if rows are held out",
        hash=False,
    )
    dry_run: bool | None = _setting(
        FLAG, "the whole path on a few rows: at most 2 steps, 8 rows to train on, 4 held out", value=False
    )
    extra: Mapping[str, Any] = attrs.field(factory=dict, hash=False)

    def __attrs_post_init__(self) -> None:
        if self.eval_dataset_source is not None and self.dataset_split is not None:
            raise ConfigError(
                "eval_dataset",
                "cannot be combined with dataset_split: both say which rows are held out, so leave one of them out",
            )
        if self.sample_prompts is not None and self.save_steps is None and self.eval_steps is None:
            raise ConfigError("sample_prompts", "asks at each checkpoint or evaluation: set save_steps or eval_steps")
        if self.sample_budget is not None and self.sample_prompts is None:
            raise ConfigError("sample_budget", "changes nothing without sample_prompts")

    def value(self, name: str) -> Any:
        """Return a setting, or the value that stands for its default if it was not given."""
        given = getattr(self, name)
        return SETTINGS[name].value if given is None else given

    @classmethod
    def from_wire(cls, body: Mapping[str, Any]) -> JobConfig:
        """Read a config as a client sent it.

        Raises:
            ConfigError: a required field is absent, or a value is out of its range.
        """
        for required in ("model", "dataset_source"):
            if body.get(wire.wire_name(required)) is None:
                raise ConfigError(required, "is required")
        return cls(**wire.known_fields(cls, body))

    def to_wire(self) -> dict[str, Any]:
        """Return the config as the JSON object that travels: only what was given."""
        return wire.to_wire(self)


SETTINGS = {
    field.name: Setting(name=field.name, **field.metadata) for field in attrs.fields(JobConfig) if field.metadata
}
ROW_SETTINGS = tuple(name for name, setting in SETTINGS.items() if setting.of_rows)

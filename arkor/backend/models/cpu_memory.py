"""How much memory a training takes on a CPU: an estimate from the sizes of the model and the settings of the job.

``bench/memory.py`` prints it beside what trainings take; bench/README.md has the figures.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import attrs

from arkor.backend.models.sizes import ModelSizes
from arkor.protocol.batches import Batches
from arkor.protocol.config import ALL_LINEAR, JobConfig
from arkor.text import many

_GIB = 2**30
_MOST_WAYS = 3
_LONGEST = 2048  # tokens of a row on a CPU, if the job does not say
MOST_LOGITS = 2**28  # numbers of the counted positions; TRL's own way needs less memory for more, see ``loss``
_MOST_SCORES = 2**30  # bytes
_FLOAT = 4  # bytes of a float32
_BYTES = {"float32": 4, "bfloat16": 2}
# Bytes of the optimizer's state for each number that is trained; Adam's two means for those that are not named.
_STATE = {"sgd": 0, "adafactor": 1, "adagrad": 4, "rmsprop": 4}
_TWO_MEANS = 8

# Measured with torch 2.13, transformers 5.23, PEFT 0.21 and TRL 1.16 on Linux; ``bench/memory.py`` shows the result.
_LIBRARIES = 450 * 2**20
# The memory for what a step keeps, as a multiple of it: the C library leaves gaps between the pieces, and more of them
# if the rows have many lengths.
_GAPS, _MANY_GAPS = 1.7, 2.1
_EVALUATED = 32  # times the inner width of a layer: what a token takes in an evaluation, gaps included


@attrs.frozen(kw_only=True)
class Batch:
    """The largest batch of a job.

    Attributes:
        rows: how many rows it has.
        tokens: of each row, with its padding.
        counted: how many of all its tokens the loss counts.
        varies: whether other batches have other lengths.
    """

    rows: int
    tokens: int
    counted: int = 0
    varies: bool = False


@attrs.frozen(kw_only=True)
class TrainingMemory:
    """The memory of a training, in bytes.

    Attributes:
        weights: the base model.
        trained: the adapter, the modules that are trained whole, and the state of the optimizer.
        batch: what is kept of a batch between the forward and the backward pass, and the gradients. If an evaluation
            takes more, that.
        fixed: the libraries.
    """

    weights: int
    trained: int
    batch: int
    fixed: int = _LIBRARIES

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.trained + self.batch + self.fixed

    @classmethod
    def of(
        cls,
        sizes: ModelSizes,
        config: JobConfig,
        train: Batch,
        held_out: Batch | None = None,
        here: int | None = None,
    ) -> TrainingMemory:
        """Estimate it.

        Args:
            sizes: of the base model.
            config: the job's settings.
            train: the largest batch to train on.
            held_out: the largest batch of an evaluation, or None.
            here: how many of the job's processes are on this machine; None for all.
        """
        state = _STATE.get(config.value("optim"), _TWO_MEANS)
        numbers = _trained(sizes, config)
        gradients = numbers * _FLOAT
        training = _of_training(sizes, config, train)
        # After the first batch of a step they are there; in the last one, a layer's part goes as its gradients come.
        training = training + gradients if config.value("gradient_accumulation_steps") > 1 else max(training, gradients)
        evaluation = 0 if held_out is None else _of_evaluation(sizes, config, held_out)
        exchanged = gradients if config.value("devices") > 1 else 0
        processes = here or config.value("devices")  # each has all of it
        return cls(
            weights=sizes.parameters * _number_bytes(config) * processes,
            trained=(numbers * (_FLOAT + state) + exchanged) * processes,
            batch=max(training, evaluation) * processes,
            fixed=_LIBRARIES * processes,
        )


def _number_bytes(config: JobConfig) -> int:
    return _BYTES.get(config.dtype or "float32", 2)


def _targets(sizes: ModelSizes, config: JobConfig) -> frozenset[str]:
    """Return the linear layers that get an adapter, by the last part of their names."""
    wanted = config.value("lora_target_modules")
    return frozenset(sizes.linear if wanted == ALL_LINEAR else (name.rpartition(".")[2] for name in wanted))


def _trained(sizes: ModelSizes, config: JobConfig) -> int:
    """Return how many numbers are trained."""
    widest = max(map(sum, sizes.linear.values()))
    ends = sum(sum(sizes.linear[name]) if name in sizes.linear else widest for name in _targets(sizes, config))
    numbers = config.layers_to_transform
    layers = sizes.layers if numbers is None else 1 if isinstance(numbers, int) else len(numbers)
    return int(config.value("lora_r")) * ends * layers + _whole(sizes, config)


def _whole(sizes: ModelSizes, config: JobConfig) -> int:
    """Return how many numbers the modules have that are trained whole, each taken for one with all words."""
    return len(config.modules_to_save or ()) * sizes.vocabulary * sizes.hidden


def keeps_scores(*, rows: int, tokens: int, heads: int, layers: int) -> bool:
    """Say whether a training on a CPU takes the attention that keeps its whole score matrices.

    As long as the matrices are small, its backward pass is faster than that of the fused kernel: 1.5 s against 1.9 s a
    step for a 135M model (torch 2.13).

    Args:
        rows: in a batch.
        tokens: of the longest row.
        heads: attention heads of a layer.
        layers: of the model.
    """
    return 3 * _FLOAT * rows * heads * layers * tokens**2 <= _MOST_SCORES  # three copies are kept for the backward pass


def _of_training(sizes: ModelSizes, config: JobConfig, batch: Batch) -> int:
    layer = _layer_bytes(sizes, config, batch)
    if config.value("gradient_checkpointing"):
        kept = sizes.layers * sizes.hidden * _number_bytes(config) * batch.rows * batch.tokens + layer
    else:
        kept = sizes.layers * layer
    whole = _whole(sizes, config) * _FLOAT  # a gradient before it is added to those of earlier batches
    return int(kept * (_MANY_GAPS if batch.varies else _GAPS)) + _logits_bytes(sizes, batch, copies=4) + whole


def _of_evaluation(sizes: ModelSizes, config: JobConfig, batch: Batch) -> int:
    layers = batch.rows * batch.tokens * sizes.inner * _EVALUATED * _number_bytes(config)
    return layers + _logits_bytes(sizes, batch, copies=2)


def _logits_bytes(sizes: ModelSizes, batch: Batch, copies: int) -> int:
    if batch.counted * sizes.vocabulary <= MOST_LOGITS:
        return copies * _FLOAT * batch.counted * sizes.vocabulary
    return 2 * _FLOAT * batch.rows * batch.tokens * sizes.vocabulary


def _layer_bytes(sizes: ModelSizes, config: JobConfig, batch: Batch) -> int:
    """Return what a layer keeps for the backward pass, as torch's hooks for saved tensors count it."""
    targets, rank = _targets(sizes, config), int(config.value("lora_r"))
    hidden, queries = sizes.hidden, sizes.heads * sizes.head_width
    heads = 2 * queries + 2 * sizes.key_heads * sizes.head_width
    # A linear layer with an adapter keeps what goes into it.
    inputs = [
        (hidden, {"q_proj", "k_proj", "v_proj"}),
        (hidden, {"gate_proj", "up_proj"}),
        (sizes.inner, {"down_proj"}),
    ]
    adapters = sum(width for width, names in inputs if targets & names) + rank * len(targets)
    numbers = 2 * hidden + heads + 3 * sizes.inner + adapters
    bytes_a_token = numbers * _FLOAT
    if (
        _number_bytes(config) < _FLOAT
    ):  # autocast: what each norm and each adapter takes in, it keeps as a copy of its own
        bytes_a_token = 2 * (numbers + 3 * hidden) + 2 * hidden * _FLOAT
    tokens = batch.rows * batch.tokens
    scores = batch.rows * sizes.heads * batch.tokens**2
    are_kept = keeps_scores(rows=batch.rows, tokens=batch.tokens, heads=sizes.heads, layers=sizes.layers)
    return tokens * bytes_a_token + (scores * _FLOAT if are_kept else 0)


def refusal(config: JobConfig, estimate: Callable[[JobConfig], TrainingMemory], available: int, rows: int = 1) -> str:
    """Return the error of a job that does not fit, with up to three changes of its settings that would make it fit.

    Args:
        config: the job's settings; smaller batches are among the changes with full determinism only, because a worker
            makes them by itself otherwise.
        estimate: what settings take.
        available: the memory that there is, in bytes.
        rows: how many a batch has.
    """
    needed = estimate(config)
    ways = list(itertools.islice(_ways(config, lambda other: estimate(other).total <= available), _MOST_WAYS))
    remedy = f"It would fit with {'; or with '.join(ways)}" if ways else "Take a smaller model, or free memory"
    parts = (needed.total, needed.weights, needed.trained, needed.batch, available)
    size = "one row" if rows == 1 else many(rows, "row")
    total, weights, trained, batch, there = (f"{part / _GIB:.1f} GiB" for part in parts)
    return (
        f"Not enough memory to train {config.model}: it takes about {total} ({weights} of weights, {trained} for the "
        f"adapter and its optimizer, {batch} for a batch of {size}), and {there} are available. {remedy}."
    )


def _ways(config: JobConfig, fits: Callable[[JobConfig], bool]) -> Iterator[str]:
    """Yield changes that make a job fit, in words: single ones first, then several together."""
    kinds = [kind for kind in _changes(config) if kind]
    for count in range(1, len(kinds) + 1):
        for chosen in itertools.combinations(kinds, count):
            *others, last = chosen
            strong = {name: value for kind in others for name, value in kind[-1].items()}
            for mildest in last:
                changed = {**strong, **mildest}
                if fits(attrs.evolve(config, **changed)):
                    yield " and ".join(f"{name}={value!r}" for name, value in changed.items())
                    break


def _changes(config: JobConfig) -> Iterator[list[dict[str, Any]]]:
    """Yield what may be changed, each kind from mild to strong."""
    yield list(_smaller_batches(config)) if config.value("full_determinism") else []
    yield [{"devices": 1}] if config.value("devices") > 1 else []
    yield [] if config.gradient_checkpointing else [{"gradient_checkpointing": True}]
    longest = config.max_length or _LONGEST
    yield [{"max_length": tokens} for tokens in (1024, 512, 256, 128) if tokens < longest]
    yield [] if config.dtype else [{"dtype": "bfloat16"}]
    yield [{"lora_r": rank} for rank in (64, 32, 16, 8) if rank < config.value("lora_r")]
    yield [] if config.value("optim") in _STATE else [{"optim": "adafactor"}]


def _smaller_batches(config: JobConfig) -> Iterator[dict[str, Any]]:
    batches = Batches.of(config.to_wire()).smaller()
    while batches is not None:
        yield {"batch_size": batches.size, "gradient_accumulation_steps": batches.count}
        batches = batches.smaller()

"""TRL's trainer, with an evaluation that batches do not change, and on a CPU with less work for the same loss.

The trainer of transformers takes the mean over the rows of the means of their batches. So a batch with few counted
tokens weighs as much as one with many, and another size of the batches gives another loss.

TRL 1.16 scores only the counted positions where it has Triton, and every position elsewhere. On a CPU, where the head
of a small model is a third of the work, and less than half of the tokens count, that costs 40 % of each step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import attrs
import torch
from transformers import set_seed
from transformers.trainer_pt_utils import LengthGroupedSampler
from trl import SFTTrainer

from arkor.backend.models.cpu_memory import MOST_LOGITS
from arkor.backend.training_worker.examples.tokenize import IGNORED
from arkor.backend.training_worker.limits.device import return_free_memory
from arkor.backend.training_worker.random_state import same_random_state

_ACCURACY = "mean_token_accuracy"  # TRL's name


@attrs.define
class _Sums:
    """What an evaluation has found so far.

    Attributes:
        tokens: counted ones.
        loss: of all of them, in nats.
        correct: how many of them are the likeliest ones.
    """

    tokens: int = 0
    loss: float = 0.0
    correct: int = 0


class TokenMeanTrainer(SFTTrainer):  # type: ignore[misc]  # TRL is untyped
    """An ``SFTTrainer`` whose evaluations weigh each counted token the same.

    On several devices each process has one, with batches of its own. Their loss is that of one device with batches as
    large as all of theirs together.

    Attributes:
        score: measures the answers of the model as it is, in an evaluation; None if it is not asked for.
    """

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        self._evaluated = _Sums()
        self.score: Callable[[], float] | None = None

    def evaluation_loop(self, *arguments: Any, metric_key_prefix: str = "eval", **options: Any) -> Any:
        """Evaluate.

        The loss is the mean negative log-likelihood of the counted tokens, in nats; the accuracy the share of them that
        are the likeliest ones. The random numbers of the training stay as they are, so that one that goes on from a
        checkpoint, and evaluates once more or not at all, goes on with the same.
        """
        with same_random_state():
            set_seed(self.args.seed)  # each time the same order of the rows, if it is a random one
            return self._measured(*arguments, metric_key_prefix=metric_key_prefix, **options)

    def _measured(self, *arguments: Any, metric_key_prefix: str, **options: Any) -> Any:
        self._evaluated = _Sums()
        return_free_memory()
        output = super().evaluation_loop(*arguments, metric_key_prefix=metric_key_prefix, **options)
        self._add_up()
        if self._evaluated.tokens:
            output.metrics[f"{metric_key_prefix}_loss"] = self._evaluated.loss / self._evaluated.tokens
            output.metrics[f"{metric_key_prefix}_{_ACCURACY}"] = self._evaluated.correct / self._evaluated.tokens
        if self.score is not None:
            output.metrics[f"{metric_key_prefix}_score"] = self.score()
        return_free_memory()
        return output

    def _get_train_sampler(self, *arguments: Any) -> Any:
        """Return the order of the rows, which is the same in an epoch that a resumed training begins in its middle."""
        sampler = super()._get_train_sampler(*arguments)
        if isinstance(sampler, LengthGroupedSampler):
            sampler.batch_size *= self.accelerator.num_processes  # it is that of a whole step
            return OrderOfEpoch(sampler, self)
        return sampler

    def prediction_step(self, model: Any, inputs: dict[str, Any], *arguments: Any, **options: Any) -> Any:
        """Evaluate a batch."""
        inputs = self._without_repeats(inputs)
        tokens = int((inputs["labels"][:, 1:] != IGNORED).sum())
        found = super().prediction_step(model, inputs, *arguments, **options)
        accuracy = self._metrics["eval"].pop(_ACCURACY)[-1]  # TRL would log the mean of the batches
        if tokens:
            self._evaluated.loss += float(found[0]) * tokens
            self._evaluated.correct += round(accuracy * tokens)
            self._evaluated.tokens += tokens
        return found

    def get_batch_samples(self, epoch_iterator: Iterator[Any], *arguments: Any, **options: Any) -> Any:
        """Return the batches of a step."""
        return super().get_batch_samples(map(self._without_repeats, epoch_iterator), *arguments, **options)

    def _without_repeats(self, inputs: dict[str, Any]) -> dict[str, Any]:
        """Let rows not count that fill the last batches of an epoch, or of an evaluation.

        accelerate repeats the first rows there, so that each process has as many.
        """
        processes, dataloader = self.accelerator.num_processes, self.accelerator.gradient_state.active_dataloader
        if processes > 1 and dataloader.end_of_dataloader:
            labels = inputs["labels"]
            left = len(dataloader.dataset) % (len(labels) * processes) or len(labels) * processes
            labels[max(0, left - len(labels) * self.accelerator.process_index) :] = IGNORED
        return inputs

    def _add_up(self) -> None:
        """Add what the other processes have found in an evaluation."""
        if self.accelerator.num_processes > 1:
            found = torch.tensor(attrs.astuple(self._evaluated), dtype=torch.float64, device=self.args.device)
            tokens, loss, correct = self.accelerator.reduce(found, "sum").tolist()
            self._evaluated = _Sums(round(tokens), loss, round(correct))


class OrderOfEpoch(torch.utils.data.Sampler):  # type: ignore[misc]  # torch is untyped here
    """The order of a sampler, drawn with a seed of its own in each epoch.

    The ``LengthGroupedSampler`` of transformers 5.23 takes the random numbers that come next: in a training that goes
    on from a checkpoint those of another epoch, so that it would see some rows twice and others not at all.

    Args:
        sampler: whose order it is.
        trainer: says which epoch it is.
    """

    def __init__(self, sampler: LengthGroupedSampler, trainer: Any) -> None:
        self._sampler = sampler
        self._trainer = trainer

    def __len__(self) -> int:
        return len(self._sampler)

    def __iter__(self) -> Iterator[int]:
        arguments = self._trainer.args
        seed = arguments.seed if arguments.data_seed is None else arguments.data_seed
        self._sampler.generator = torch.Generator().manual_seed(seed + int(self._trainer.state.epoch or 0))
        return iter(self._sampler)


class CountedLossTrainer(TokenMeanTrainer):
    """A trainer for devices without Triton; the loss is the same."""

    def __init__(self, **arguments: Any) -> None:
        super().__init__(**arguments)
        head = self.model.get_output_embeddings()
        self._positions = _CountedPositions(head)
        self._vocabulary = head.weight.shape[0]

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Return the mean negative log-likelihood of the counted tokens, in nats (a scalar tensor)."""
        targets = inputs["labels"][:, 1:]
        counted = targets != IGNORED
        count = int(counted.sum())
        if return_outputs or self.aux_loss_enabled or not self._are_few(count):
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        arguments = {name: value for name, value in inputs.items() if name != "labels"}
        with self._positions.only(counted):
            logits = model(**arguments, use_cache=False).logits[0]
        if not self.model.training:
            correct = int((logits.argmax(-1) == targets[counted]).sum())
            self._metrics["eval"][_ACCURACY].append(correct / count)
        total = torch.nn.functional.cross_entropy(logits.float(), targets[counted], reduction="sum")
        if num_items_in_batch is None:
            return total / count
        # The gradients of all processes are averaged, and their tokens were counted together.
        return total / num_items_in_batch * self.accelerator.num_processes

    def _are_few(self, count: int) -> bool:
        """Whether the logits of the counted positions are few enough, and there are any: in each process.

        TRL's own way asks all processes for their figures, so they have to take the same one.
        """
        counts = [count]
        if self.accelerator.num_processes > 1:
            counts = self.accelerator.gather(torch.tensor([count], device=self.args.device)).tolist()
        return min(counts) > 0 and max(counts) * self._vocabulary <= MOST_LOGITS


class _CountedPositions:
    """Hands the head only some of the hidden states; whatever a model does to its logits after it stays as it is."""

    def __init__(self, head: torch.nn.Module) -> None:
        self._counted: torch.Tensor | None = None
        head.register_forward_pre_hook(self._select)

    @contextmanager
    def only(self, counted: torch.Tensor) -> Iterator[None]:
        """Restrict the head to positions.

        Args:
            counted: which of the first T-1 positions to score, (batch, T-1), bool.
        """
        self._counted = counted
        try:
            yield
        finally:
            self._counted = None

    def _select(self, _head: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, ...] | None:
        if self._counted is None:
            return None
        hidden, *rest = inputs  # (batch, T, width)
        return (hidden[:, :-1][self._counted][None], *rest)

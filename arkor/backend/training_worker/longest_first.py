"""The longest rows before the first step: a lack of memory shows in the first minute, not after hours."""

from __future__ import annotations

import copy
import heapq
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from transformers import TrainerCallback

from arkor.backend.training_worker.examples.arrow_files import lengths_of
from arkor.backend.training_worker.random_state import same_random_state


class LongestFirst(TrainerCallback):  # type: ignore[misc]  # transformers is not followed
    """Passes the batch of the longest examples forward and backward once, and leaves no trace of it.

    A training that resumes has done so already. One of a single batch begins with the longest examples anyway.

    Args:
        trainer: of TRL; its examples are those of a file, see ``open_examples``.
    """

    def __init__(self, trainer: Any) -> None:
        self._trainer = trainer

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Do it, now that the model is on its device.

        Raises:
            torch.OutOfMemoryError: the device has too little memory.
        """
        examples, size = self._trainer.train_dataset, args.per_device_train_batch_size
        if state.global_step or len(examples) <= size:
            return
        lengths = lengths_of(examples)
        places = heapq.nlargest(size, range(len(examples)), key=lengths.__getitem__)
        batch = self._trainer.data_collator([examples[place] for place in places])
        with same_random_state(), _same_metrics(self._trainer):
            self._pass(batch)

    def _pass(self, batch: Any) -> None:
        """Do what a step does before the optimizer's part."""
        trainer, model = self._trainer, self._trainer.model_wrapped
        model.train()
        inputs = trainer._prepare_inputs(batch)  # there is no public name for it
        with trainer.compute_loss_context_manager():
            loss = trainer.compute_loss(model, inputs)
        trainer.accelerator.backward(loss)
        model.zero_grad()


@contextmanager
def _same_metrics(trainer: Any) -> Iterator[None]:
    """Keep what TRL 1.16 counts of each pass; there is no public name for it."""
    metrics, tokens = copy.deepcopy(trainer._metrics), trainer._total_train_tokens
    yield
    trainer._metrics, trainer._total_train_tokens = metrics, tokens

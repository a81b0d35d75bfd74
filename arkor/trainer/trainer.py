"""The trainer: one job, submitted once, followed for as long as the caller likes.

Protocol: docs/protocol.md, "Jobs" and "The event stream".
"""

from __future__ import annotations

import contextlib
import functools
import math
import threading
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, NoReturn

from arkor.client.chat import ChatResponse
from arkor.client.client import CloudApiClient
from arkor.client.position import EVENT_ID
from arkor.client.reconnect import may_ask_again, until_answered
from arkor.client.result import TrainingResult
from arkor.client.stream import ReconnectPolicy
from arkor.data.datasets import Dataset
from arkor.drawing.html import text
from arkor.errors import Aborted, ConfigError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.options import known_options
from arkor.protocol.checks import Json
from arkor.protocol.config import JobConfig, LoraConfig
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.events import Event
from arkor.protocol.jobs import AdapterRef, Scope, TrainingJob
from arkor.system.forks import OwnToEachProcess
from arkor.system.pickling import NotPickled
from arkor.text import one_line
from arkor.trainer.callbacks import Callbacks
from arkor.trainer.follow import Follower, JobRecord
from arkor.trainer.resume import Resumption
from arkor.trainer.run_options import RunOptions
from arkor.trainer.showing import Showing, Shown
from arkor.trainer.start import Attachment, Starter
from arkor.trainer.submission import StartProgress, Submission


class Trainer(NotPickled):
    """A training run: its settings, its job, and the wait for its end.

    ``start()`` submits the job and returns; ``wait()`` follows it on the caller's thread, calls the callbacks and
    returns how it ended. What is not given is left to the backend; the defaults below are those of the self-hosted one.

    Args:
        name: what to call the job, 1 to 200 characters.
        model: a name the backend knows, a Hugging Face id, or a folder on the backend's machine.
        base_adapter: the adapter that the job goes on from: a job's id, its result, or an ``AdapterRef`` (such as
            ``ctx.adapter`` of a checkpoint). The job has its shape, and needs the same ``model``. By default the job
            makes a new one.
        dataset: where the rows are: a data set, a path for ``LocalDataset``, what ``dataset_from`` made of rows in
            memory, or a mapping form such as ``{"type": "huggingface", "name": …}``.
        eval_dataset: where the held-out rows are, as ``dataset``; not together with ``dataset_split``. By default no
            rows are held out.
        lora: the adapter's shape, or a mapping with its names; by default ``LoraConfig()``.
        callbacks: what to call as the job runs, or a mapping with their names.
        max_steps: optimizer steps, 1 to 1e9; wins over ``num_train_epochs``. By default as many as the epochs need.
        num_train_epochs: passes over the rows, above 0, at most 1e6; by default 1.
        learning_rate: peak step size, dimensionless, above 0, at most 1e6; by default 2e-4.
        batch_size: rows in a batch, 1 to 1e6; by default 4.
        gradient_accumulation_steps: batches in an optimizer step, 1 to 1e6: a step takes ``batch_size`` times as many
            rows. By default 1.
        devices: GPUs that the job trains on, 1 to 1024; without GPUs, processes that share the cores. They are those of
            one machine, or of a Ray cluster. A step takes ``devices`` times as many rows, because each takes batches of
            its own. By default 1.
        eval_batch_size: rows in a batch of an evaluation, 1 to 1e6; by default twice ``batch_size``.
        optim: the optimizer, as transformers names it; by default ``adamw_torch``. Those of 8 bits and the paged ones
            need a CUDA device and the package bitsandbytes.
        lr_scheduler_type: the schedule, as transformers names it; by default ``linear``.
        weight_decay: pull of the weights to 0, dimensionless, 0 to 1e6; by default 0.
        max_grad_norm: longest gradient, as an L2 norm, 0 to 1e12: a longer one is scaled down to it; 0 turns this off.
            By default 1.
        warmup_steps: steps until the peak, 0 to 1e9; a number below 1 is a share of all steps. 0 by default.
        neftune_noise_alpha: size of the noise on the embeddings in training (NEFTune), above 0, at most 1e6; often 5 to
            15. By default there is none.
        train_sampling_strategy: the order of the rows: ``random`` (the default), ``sequential``, or
            ``group_by_length``, which puts rows of like length into a batch.
        dtype: number type of the base model's weights: ``float32``, ``bfloat16`` or ``float16`` (needs a CUDA device).
            By default ``float32`` on a CPU, and what the GPU is fast in.
        gradient_checkpointing: whether the layers are computed a second time in the backward pass, which takes less
            memory and more time; by default with a CUDA device only.
        logging_steps: steps between two log events, 1 to 1e9; by default 1.
        save_steps: steps between two checkpoints, 1 to 1e9; by default only the final adapter is kept.
        save_total_limit: the most checkpoints that are kept, 1 to 1e6: the newest, and that of the best evaluation. By
            default all are kept. A removed one can be neither downloaded nor asked.
        eval_steps: steps between two evaluations, 1 to 1e9; by default there is one at the end, if rows are held out.
        load_best_model_at_end: whether the final adapter is that of the best evaluation; by default it is that of the
            last step. Needs ``eval_steps`` and rows that are held out.
        metric_for_best_model: what makes an evaluation the best: ``eval_loss`` (the default);
            ``eval_mean_token_accuracy``, the share of the counted tokens that are the model's likeliest ones; or a
            score that a report has, such as ``json_fields``. For a score the model answers at most 50 held-out rows at
            each evaluation. You may leave out the prefix ``eval_``.
        greater_is_better: whether a greater value of that is better; by default False for the loss, else True.
        early_stopping_patience: evaluations in a row that are no better than the best one before them, 1 to 1e6, until
            the training stops and the job completes. By default it does not stop early. Needs ``eval_steps``.
        early_stopping_threshold: by how much an evaluation has to be better for that, 0 to 1e6; 0 by default.
        sample_prompts: what the model is asked before the first step, at each checkpoint and after the last step: so
            many held-out rows, 1 to 20, or a list of up to 20 prompts, each a text or a list of messages. The answers
            take the likeliest tokens and change nothing in the training; ``on_sample`` and ``result.samples()`` have
            them. Needs ``save_steps`` or ``eval_steps`` (then each evaluation asks). By default nothing is asked.
        sample_budget: the most that these answers may take, as a share of the training's time, above 0, at most 1; by
            default 0.05. Steps whose answers would take more are left out, but never the first and the last one. With
            1 none is left out.
        excess_length: what becomes of a row that is longer than ``max_length``: ``truncate`` cuts it, ``drop`` trains
            without it, ``error`` fails the job. By default ``truncate`` with a ``max_length``, ``drop`` without; a job
            fails if more than 1 % of its rows would be lost, unless you set ``drop``.
        train_on_responses_only: whether the loss counts only what the assistant says, which is the default if the
            format has responses; for Arkor Cloud any JSON value.
        apply_chat_template: whether texts of ``prompt`` and ``completion`` become a question and an answer of a chat.
            That is the default, if the model has a chat template. ``False`` trains them as plain text; ask the result
            with ``result.complete`` then.
        chat_template_kwargs: variables of the model's chat template, such as ``{"enable_thinking": False}``; by default
            none. Chats with the adapter get the same.
        escape_special_tokens: whether special tokens in the text of messages and tools, such as ``<|im_end|>``, stay
            text, in training and in chats with the adapter. By default the model takes them as those of its template.
        allow_dropped_fields: parts of a row that the chat template may leave out: ``content``, ``reasoning_content``,
            ``tool_calls``, ``tools``; by default none. A row that loses another part fails the job.
        seed: of the random numbers (the order of the rows, the adapter's first weights), 0 to 2**32 - 1; by default 42.
            The same seed on the same machine gives the same adapter, but for rounding: see ``full_determinism``.
        data_seed: of the order of the rows alone, 0 to 2**32 - 1; by default ``seed``.
        full_determinism: whether the adapter has the same bytes each time, on the same machine with the same versions,
            also after a kill or a pause, and with chats during the training. The job keeps its threads while chats are
            answered, and fails if memory runs out, because its batches are not divided. By default False.
            ``result.reproduce()`` trains again and compares.
        dataset_format: ``chatml``, ``prompt_completion``, ``text`` or ``alpaca``, or a mapping with that ``type``; by
            default detected. For Arkor Cloud any JSON value.
        dataset_split: ``{"train": …, "eval": …}`` or ``{"eval_fraction": …, "seed": …}``; by default no rows are held
            out. For Arkor Cloud any JSON value.
        evaluation: an evaluation that the backend makes of the result: True, or a mapping with the options of
            ``EvaluationOptions``, such as ``{"limit": 100}``. ``result.report()`` waits for it. By default there is
            none.
        dry_run: run the whole path on a few rows for a few steps; by default False.
        abort_event: when set, ``wait()`` raises Aborted at once. The job goes on, if it was submitted; ``cancel()``
            stops it.
        reconnect: when a lost event stream is opened again.
        client: the backend to use, where the caller has a client.
        backend: a base URL, or ``local`` for this user's own backend; by default ``default_cloud_api_url()``.
        project_dir: the folder whose project the job belongs to and where relative paths start; by default the
            working directory.
        remember: a file that keeps which job this is and how far its events were handled, so that the same script,
            run again after it was killed, goes on there. It is removed when the job has ended.

    Raises:
        ConfigError: a setting is out of its range; nothing was sent.
        UnknownOption: there is no such setting; the error names the nearest one.

    Thread-safety: every method may be called from any thread. Two threads in ``wait()`` share one stream and one
    result.
    """

    _instead = "In another process, follow its job: Trainer.attach(trainer.job.id)."

    @known_options
    def __init__(
        self,
        *,
        name: str,
        model: str,
        base_adapter: AdapterRef | TrainingResult | Mapping[str, Any] | str | None = None,
        dataset: Dataset | Mapping[str, Any] | str | Path,
        eval_dataset: Dataset | Mapping[str, Any] | str | Path | None = None,
        lora: LoraConfig | Mapping[str, Any] | None = None,
        callbacks: Callbacks | Mapping[str, Any] | None = None,
        max_steps: int | None = None,
        num_train_epochs: float | None = None,
        learning_rate: float | None = None,
        batch_size: int | None = None,
        gradient_accumulation_steps: int | None = None,
        devices: int | None = None,
        eval_batch_size: int | None = None,
        optim: str | None = None,
        lr_scheduler_type: str | None = None,
        weight_decay: float | None = None,
        max_grad_norm: float | None = None,
        warmup_steps: float | None = None,
        neftune_noise_alpha: float | None = None,
        train_sampling_strategy: str | None = None,
        dtype: str | None = None,
        gradient_checkpointing: bool | None = None,
        logging_steps: int | None = None,
        save_steps: int | None = None,
        save_total_limit: int | None = None,
        eval_steps: int | None = None,
        load_best_model_at_end: bool | None = None,
        metric_for_best_model: str | None = None,
        greater_is_better: bool | None = None,
        early_stopping_patience: int | None = None,
        early_stopping_threshold: float | None = None,
        sample_prompts: int | Sequence[str | Sequence[Mapping[str, Any]]] | None = None,
        sample_budget: float | None = None,
        excess_length: str | None = None,
        train_on_responses_only: Json | None = None,
        apply_chat_template: bool | None = None,
        chat_template_kwargs: Mapping[str, Any] | None = None,
        escape_special_tokens: bool | None = None,
        allow_dropped_fields: Sequence[str] | None = None,
        seed: int | None = None,
        data_seed: int | None = None,
        full_determinism: bool | None = None,
        dataset_format: Json | None = None,
        dataset_split: Json | None = None,
        evaluation: EvaluationOptions | Mapping[str, Any] | bool | None = None,
        dry_run: bool | None = None,
        abort_event: threading.Event | None = None,
        reconnect: ReconnectPolicy | None = None,
        client: CloudApiClient | None = None,
        backend: str | None = None,
        project_dir: str | Path | None = None,
        remember: str | Path | None = None,
    ) -> None:
        submission = Submission.of(
            name=name,
            model=model,
            base_adapter=base_adapter,
            dataset=dataset,
            eval_dataset=eval_dataset,
            lora=lora,
            max_steps=max_steps,
            num_train_epochs=num_train_epochs,
            learning_rate=learning_rate,
            batch_size=batch_size,
            gradient_accumulation_steps=gradient_accumulation_steps,
            devices=devices,
            eval_batch_size=eval_batch_size,
            optim=optim,
            lr_scheduler_type=lr_scheduler_type,
            weight_decay=weight_decay,
            max_grad_norm=max_grad_norm,
            warmup_steps=warmup_steps,
            neftune_noise_alpha=neftune_noise_alpha,
            train_sampling_strategy=train_sampling_strategy,
            dtype=dtype,
            gradient_checkpointing=gradient_checkpointing,
            logging_steps=logging_steps,
            save_steps=save_steps,
            save_total_limit=save_total_limit,
            eval_steps=eval_steps,
            load_best_model_at_end=load_best_model_at_end,
            metric_for_best_model=metric_for_best_model,
            greater_is_better=greater_is_better,
            early_stopping_patience=early_stopping_patience,
            early_stopping_threshold=early_stopping_threshold,
            sample_prompts=sample_prompts,
            sample_budget=sample_budget,
            excess_length=excess_length,
            train_on_responses_only=train_on_responses_only,
            apply_chat_template=apply_chat_template,
            chat_template_kwargs=chat_template_kwargs,
            escape_special_tokens=escape_special_tokens,
            allow_dropped_fields=allow_dropped_fields,
            seed=seed,
            data_seed=data_seed,
            full_determinism=full_determinism,
            dataset_format=dataset_format,
            dataset_split=dataset_split,
            evaluation=evaluation,
            dry_run=dry_run,
        )
        options = RunOptions(
            callbacks=callbacks,
            abort_event=abort_event,
            reconnect=reconnect,
            client=client,
            backend=backend,
            project_dir=project_dir,
            remember=remember,
        )
        self._take(options.starter(submission), options)

    @classmethod
    @known_options
    def attach(
        cls,
        job_id: str,
        *,
        callbacks: Callbacks | Mapping[str, Any] | None = None,
        after: str | None = None,
        abort_event: threading.Event | None = None,
        reconnect: ReconnectPolicy | None = None,
        client: CloudApiClient | None = None,
        backend: str | None = None,
        project_dir: str | Path | None = None,
        remember: str | Path | None = None,
    ) -> Trainer:
        """Return a trainer for a job that exists, to follow or cancel it.

        Args:
            job_id: the job.
            callbacks: as for a new trainer.
            after: follow from the event after this id; by default from the first.
            abort_event: as for a new trainer.
            reconnect: as for a new trainer.
            client: as for a new trainer.
            backend: as for a new trainer.
            project_dir: the folder whose project the job belongs to.
            remember: as for a new trainer; what the file says wins over ``after``.

        Raises:
            ConfigError: the job's id is empty, or ``after`` is none that an event can have.
        """
        if not isinstance(job_id, str) or not job_id.strip():
            raise ConfigError("job_id", f"must be a text that is not empty, not {job_id!r}")
        if after is not None and (not isinstance(after, str) or not EVENT_ID.fullmatch(after)):
            raise ConfigError("after", f"must be the id of an event, not {after!r}")
        options = RunOptions(
            callbacks=callbacks,
            abort_event=abort_event,
            reconnect=reconnect,
            client=client,
            backend=backend,
            project_dir=project_dir,
            remember=remember,
        )
        return cls._of(options.starter(Attachment(job_id, after)), options)

    @classmethod
    def _of(cls, starter: Starter, options: RunOptions) -> Trainer:
        trainer = cls.__new__(cls)
        trainer._take(starter, options)
        return trainer

    def _take(self, starter: Starter, options: RunOptions) -> None:
        self._starter = starter
        self._showing = Showing(starter)
        self._resumption = Resumption(starter)
        self._resumed: Trainer | None = None
        self._callbacks = options.callbacks
        self._abort_event = options.abort_event
        self._reconnect = options.reconnect or ReconnectPolicy()
        self._start_locks = OwnToEachProcess(threading.Lock)
        self._turns = OwnToEachProcess(threading.Lock)
        self._turn_owner: threading.Thread | None = None  # not its number, which a child's new thread may have too

    @property
    def name(self) -> str:
        """The job's name."""
        record, source = self._starter.record, self._starter.source
        if record is not None:
            return record.job.name
        return source.name if isinstance(source, Submission) else ""

    @property
    def job(self) -> TrainingJob | None:
        """The job in its last known state; None before ``start()``."""
        record = self._starter.record
        return record.job if record else None

    @property
    def was_sent(self) -> bool:
        """Whether the backend may have the job: true from the moment it is submitted, before ``job`` is known."""
        return self._starter.was_sent

    @property
    def last_event_id(self) -> str | None:
        """The id of the last event that was delivered; what ``attach(after=…)`` goes on from."""
        record, source = self._starter.record, self._starter.source
        if record is not None:
            return record.position.last_id
        return source.after if isinstance(source, Attachment) else None

    @property
    def backend(self) -> str | None:
        """The backend that was asked for: a base URL, ``local``, or None for the default."""
        return self._starter.backend

    def __repr__(self) -> str:
        job, source = self.job, self._starter.source
        if job is not None:
            return one_line(f"<Trainer {self.name!r}, job {job.id}, {job.status}>")
        place = "not started" if isinstance(source, Submission) else f"job {source.job_id}"
        return one_line(f"<Trainer {self.name!r}, {place}>" if self.name else f"<Trainer, {place}>")

    def _repr_html_(self) -> str:
        return f"<p>{text(repr(self)[1:-1])}</p>" if self.job is None else self.job._repr_html_()

    def __copy__(self) -> NoReturn:
        raise TypeError("A trainer stands for one job and cannot be copied: make another Trainer with its settings.")

    def __deepcopy__(self, _memo: Mapping[int, Any]) -> NoReturn:
        self.__copy__()

    def configure(self, *, backend: str | None = None, dry_run: bool | None = None) -> None:
        """Change where, or how far, the job runs, before it is started.

        Args:
            backend: a base URL or ``local``; None leaves it as it is.
            dry_run: run on a few rows for a few steps; None leaves it as it is.

        Raises:
            RuntimeError: the job was started already.
        """
        with self._start_locks.get():
            if self._starter.record is not None:
                raise RuntimeError("configure() comes too late: the job was started already.")
            self._starter.configure(backend=backend, dry_run=dry_run)

    def start(self, *, on_progress: StartProgress | None = None) -> TrainingJob:
        """Submit the job, or return the one that was submitted.

        Rows of this machine are checked before anything is sent. A model that the backend knows but does not have is
        fetched first, then the rows are sent, unless the backend has them. A failure is not remembered: calling again
        tries again.

        Args:
            on_progress: called on this thread while the rows are checked, the backend fetches the model, and the rows
                are sent, with how far that is: a mapping with ``phase``, ``done`` and ``total``, and of the model
                ``model``, its name. Of the rows the phase is ``reading`` or ``uploading``, of the held-out ones
                ``reading-eval`` or ``uploading-eval``, and the others are bytes. What it raises ends the start.

        Returns:
            The job as the backend accepted it.

        Raises:
            DatasetError: rows cannot be trained on; nothing was sent.
            ModelError: the model cannot be fetched.
            ProjectStateError, CredentialsError, LocalBackendError: who or where is not clear.
            ConnectionFailed, CloudApiError: the backend did not accept it.
        """
        with self._saying_what_became_of_the_job():
            return self._start(Deadline(), on_progress)

    def wait(
        self,
        timeout: float | None = None,
        *,
        check: bool = False,
        on_event: Callable[[Event], object] | None = None,
        progress: str | bool | None = None,
    ) -> TrainingResult:
        """Follow the job to its end, calling the callbacks, and return how it ended.

        Starts the job where that was not done. May be called again after Aborted, WaitTimeout, KeyboardInterrupt or an
        exception of a callback: it goes on after the last event that was delivered. After the end it returns the same
        result, without a request. While the backend is away, a job that was submitted is waited for, as ``reconnect``
        says; a job that is still to be submitted is not.

        Args:
            timeout: seconds for the whole wait, the start of the job included; None for no limit. With 0 or less
                WaitTimeout comes at once, and nothing is started. A job that is just being submitted is waited for.
            check: raise TrainingFailed where the job did not complete.
            on_event: called on this thread with every event, before the callback that the event is for. What it raises
                ends the wait, as what a callback raises does; the event counts as delivered.
            progress: ``plain`` prints lines. False shows nothing. By default a notebook shows a card, unless the
                environment has ``ARKOR_PROGRESS=0``, and other programs show nothing.

        Raises:
            Aborted: the abort event was set.
            WaitTimeout: the timeout passed.
            KeyboardInterrupt: the user pressed Ctrl-C, or the Interrupt button of a notebook; the job goes on. IPython
                shows it as one line.
            ConfigError: the timeout is no number, ``on_event`` cannot be called, or ``progress`` is another value.
            ReconnectExhausted: the backend was away too often in a row.
            ConnectionFailed, CloudApiError: the backend did not accept the job; or it refuses to show it.
            TrainingFailed: the job failed or was cancelled, and ``check`` is set.
            LocalBackendError: this user's own backend is gone.
            RuntimeError: called from inside a callback of this trainer.
        """
        if on_event is not None and not callable(on_event):
            raise ConfigError("on_event", f"must be callable, not {on_event!r}")
        deadline = _deadline(timeout)
        infer = functools.partial(self._infer, deadline)
        with (
            self._showing.open(progress) as shown,
            contextlib.closing(self._follow(deadline, shown)) as events,
        ):
            for event in events:
                record = self._started()
                position = record.position
                shown.take(event, record.job)
                call = self._callbacks.call_for(event, record.job, record.artifacts, infer)
                try:
                    if on_event is not None:
                        on_event(event)
                    if call is not None:
                        call[0](call[1])
                finally:  # no call may stand between the callback and this: Ctrl-C would repeat the event
                    position.delivered = position.offered
        result = self._started().result
        assert result is not None  # _follow() ended without raising
        if check:
            result.raise_for_status()
        return result

    def events(self, timeout: float | None = None) -> Iterator[Event]:
        """Follow the job to its end as an iterator of typed events; no callback is called.

        Args:
            timeout: seconds for the whole iteration; None for no limit.

        Raises:
            As ``wait`` does.
        """
        return self._events(_deadline(timeout))

    def _events(self, deadline: Deadline) -> Generator[Event, None, None]:
        with self._showing.one_line_if_interrupted(), contextlib.closing(self._follow(deadline, Shown(None))) as events:
            for event in events:
                position = self._started().position
                try:
                    yield event
                finally:
                    position.delivered = position.offered

    def _follow(self, deadline: Deadline, shown: Shown) -> Generator[Event, None, None]:
        """Yield the events that are still to be delivered; whoever delivered one says so in the record's position."""
        with self._saying_what_became_of_the_job(), self._taking_turns(deadline):
            if self._starter.record is not None and self._starter.record.result is not None:
                return
            AbortScope(self._abort_event, deadline).check()
            self._start_patiently(deadline, shown.on_progress)
            record = self._started()
            shown.started(record.job)
            client, scope = self._starter.connect()
            follower = Follower(client, scope, record, policy=self._reconnect, abort_event=self._abort_event)
            with contextlib.closing(follower.events(deadline)) as events:
                if self._starter.bookmark.path is None:
                    yield from events
                    return
                for event in events:
                    try:
                        yield event
                    finally:
                        if record.result is None:
                            self._starter.bookmark.move(record.job.id, record.position)
                        else:
                            self._starter.bookmark.remove(record.job.id)

    def find_running(self) -> Trainer | None:
        """Find a job of this name in the project that is queued, running or paused.

        Only looks: nothing is submitted, and no project is created.

        Returns:
            A trainer attached to the newest such job, its ``job`` known, without callbacks; or None. Another process
            may submit one at any moment after the look.

        Raises:
            ProjectStateError, CredentialsError, LocalBackendError: who or where is not clear.
            ConnectionFailed, CloudApiError: the backend did not answer, or refused.
        """
        with self._start_locks.get():
            starter = self._starter.running(self.name)
        if starter is None:
            return None
        return Trainer._of(starter, RunOptions(abort_event=self._abort_event, reconnect=self._reconnect))

    def cancel(self) -> None:
        """Ask the backend to stop the job; do nothing before ``start()``.

        Always asks, whatever is known of the job, and does not look at the abort event. ``wait()`` then returns with
        status ``cancelled``.

        Raises:
            CloudApiError: the job has ended already (on most backends, Conflict), or another refusal.
            ConnectionFailed: the backend does not answer.
        """
        if self._tell(lambda client, scope, job_id: client.cancel_job(scope, job_id)):
            self._starter.is_cancelled = True

    def pause(self) -> None:
        """Ask the backend to pause the job; do nothing before ``start()``.

        The job saves a checkpoint and frees its machine; ``unpause()`` lets it go on from there. Always asks, as
        ``cancel`` does. ``wait()`` goes on meanwhile, until the job has ended. Pausing a paused job changes nothing.

        Raises:
            UnsupportedByBackend: the backend pauses no jobs.
            Conflict: the job has ended.
            CloudApiError: another refusal.
            ConnectionFailed: the backend does not answer.

        Example:
            ``arkor.Trainer.attach("job_x4k2", backend="local").pause()``
        """
        self._tell(lambda client, scope, job_id: client.pause_job(scope, job_id))

    def unpause(self) -> None:
        """Ask the backend to go on with the job, which is paused; do nothing before ``start()``.

        Always asks, as ``cancel`` does.

        Raises:
            UnsupportedByBackend: the backend pauses no jobs.
            Conflict: the job is not paused.
            CloudApiError: another refusal.
            ConnectionFailed: the backend does not answer.

        Example:
            ``arkor.Trainer.attach("job_x4k2", backend="local").unpause()``
        """
        self._tell(lambda client, scope, job_id: client.unpause_job(scope, job_id))

    def resume(self, timeout: float | None = None) -> Trainer:
        """Start a new job that goes on from the last checkpoint of this one, which failed or was cancelled.

        This trainer stays with its job. Calling again returns the same trainer, also after Aborted, WaitTimeout or a
        lost connection: a key in the request lets the backend find the job that it made. A worker that is about to
        leave is waited for, for a minute at most.

        Args:
            timeout: seconds for the whole call; None for no limit.

        Returns:
            A trainer that follows the new job, with the callbacks, the abort event, the backend and the project of this
            one. It remembers nothing on disk.

        Raises:
            UnsupportedByBackend: the backend resumes no jobs.
            Conflict: the job neither failed nor was cancelled, or it left no checkpoint.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.
            ConfigError: the timeout is no number.
            ConnectionFailed, CloudApiError: the backend did not answer, or refused.
            RuntimeError: the job was not started.

        Example:
            ``result = arkor.Trainer.attach("job_x4k2", backend="local").resume().wait(check=True)``
        """
        deadline = _deadline(timeout)
        with _adding(self._resumption.state), _acquired(self._start_locks.get(), deadline):
            if self._resumed is None:
                starter = self._resumption.make(deadline)
                options = RunOptions(
                    callbacks=self._callbacks, abort_event=self._abort_event, reconnect=self._reconnect
                )
                self._resumed = Trainer._of(starter, options)
            return self._resumed

    def _tell(self, call: Callable[[CloudApiClient, Scope, str], object]) -> bool:
        """Tell the backend something about the job; return False, and do nothing, before ``start()``."""
        with self._start_locks.get():
            job_id = self._starter.job_id
            if job_id is None:
                return False
            client, scope = self._starter.connect()
        call(client, scope, job_id)
        return True

    def _start(self, deadline: Deadline, on_progress: StartProgress | None = None) -> TrainingJob:
        with _acquired(self._start_locks.get(), deadline):
            if self._starter.record is None:
                self._starter.start(deadline, on_progress)
            return self._started().job

    def _start_patiently(self, deadline: Deadline, on_progress: StartProgress | None) -> None:
        """Start the job; one that exists already is looked for until the backend answers."""
        if not self._starter.is_submitted():
            self._start(deadline, on_progress)
            return
        until_answered(
            lambda: self._start(deadline),
            policy=self._reconnect,
            limits=AbortScope(self._abort_event, deadline),
            check_alive=self._starter.check_alive,
        )

    def _infer(self, deadline: Deadline, call: str, **question: Any) -> ChatResponse:
        """Ask a checkpoint during a wait, and again until the backend answers: its restart does not end the wait."""
        timeout = question.get("timeout")
        own = Deadline(timeout)
        patience = deadline if timeout is None else Deadline(deadline.clip(timeout))
        return until_answered(
            lambda: self._starter.ask(call, **{**question, "timeout": own.remaining()}),
            policy=self._reconnect,
            limits=AbortScope(question.get("abort_event", self._abort_event), patience),
            check_alive=self._starter.check_alive,
            may_pass=may_ask_again,
        )

    def _started(self) -> JobRecord:
        record = self._starter.record
        assert record is not None  # start() came before
        return record

    def _saying_what_became_of_the_job(self) -> AbstractContextManager[None]:
        """Let the error of a wait that is broken off say whether there is a job, and which."""
        return _adding(self._starter.state)

    @contextlib.contextmanager
    def _taking_turns(self, deadline: Deadline) -> Iterator[None]:
        """Let one thread follow at a time; the others get its result, or go on where it left."""
        if self._turn_owner is threading.current_thread():
            raise RuntimeError(
                "wait() was called from inside a callback of the same trainer, or while an iterator of its events() is "
                "open on this thread: close() that first."
            )
        with _acquired(self._turns.get(), deadline):
            self._turn_owner = threading.current_thread()
            try:
                yield
            finally:
                self._turn_owner = None


def create_trainer(**settings: Any) -> Trainer:
    """Return a Trainer; takes what ``Trainer`` takes."""
    return Trainer(**settings)


def draft_of(trainer: Trainer, backend: str) -> JobConfig:
    """Send a trainer's rows to a backend, and return the settings of the job that it would submit; no job is created.

    Args:
        trainer: one that was not started.
        backend: a base URL, or ``local``.

    Raises:
        EntryError: the trainer has a job already.
        ArkorError: the rows cannot be trained on, or the backend cannot show them.
    """
    if trainer.job is None:
        trainer.configure(backend=backend)
    return trainer._starter.draft()


def connection_of(trainer: Trainer) -> tuple[CloudApiClient, Scope]:
    """Return the backend of a trainer, and the project of its job.

    Raises:
        ArkorError: the backend or the project is not known.
    """
    return trainer._starter.connect()


def is_resuming_backend(trainer: Trainer) -> bool:
    """Say whether the backend of a trainer resumes jobs that failed or were cancelled.

    Args:
        trainer: the trainer.

    Raises:
        ArkorError: the backend does not answer.
    """
    client, _ = connection_of(trainer)
    return "resume-jobs" in client.features


def _deadline(timeout: float | None) -> Deadline:
    if timeout is not None:
        is_number = isinstance(timeout, (int, float)) and not isinstance(timeout, bool)
        if not is_number or math.isnan(timeout):
            raise ConfigError("timeout", f"must be a number of seconds or None, not {timeout!r}")
    return Deadline(timeout)


@contextlib.contextmanager
def _adding(state: Callable[[], str]) -> Iterator[None]:
    """Let the error of a call that is broken off end with a sentence on how things are."""
    try:
        yield
    except (Aborted, WaitTimeout) as exc:
        exc.args = (f"{exc} {state()}",)
        raise


@contextlib.contextmanager
def _acquired(lock: threading.Lock, deadline: Deadline) -> Iterator[None]:
    while not lock.acquire(timeout=-1 if (remaining := deadline.remaining()) is None else remaining):
        deadline.check()
    try:
        yield
    finally:
        lock.release()

"""How a run ended, and what can be done with it: download, ask, measure.

Protocol: docs/protocol.md, "Jobs", "Artifacts", "Inference".
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs

from arkor.drawing.html import table
from arkor.errors import ArkorError, CloudApiError, ConfigError
from arkor.protocol import wire
from arkor.protocol.jobs import ADAPTER_KIND, AdapterRef, Artifact, JobStatus, TrainingJob
from arkor.protocol.progress import Progress
from arkor.text import many, one_line

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it

    from arkor.client.chat import ChatOptions, ChatResponse, CompletionOptions
    from arkor.client.evaluate_options import EvaluateOptions
    from arkor.client.export_settings import ExportSettings
    from arkor.client.reproduce_options import ReproduceOptions
    from arkor.client.reproduction import Reproduction
    from arkor.evaluation.report import EvaluationReport
    from arkor.protocol.job_metrics import Metrics
    from arkor.protocol.receipt import Receipt
    from arkor.protocol.record import TrainingRecord
    from arkor.protocol.samples import Samples


class TrainingFailed(ArkorError):
    """The job ended without completing.

    Attributes:
        result: the whole result, its job and its artifacts.
    """

    def __init__(self, result: TrainingResult) -> None:
        super().__init__(result)
        self.result = result

    def __str__(self) -> str:
        job = self.result.job
        return f"Job {job.id} finished with status={job.status}: {job.error or 'no error message'}"


def _no_download(_job_id: str, _artifact: Artifact, _dest: Path, _on_progress: Progress | None) -> Path:
    raise ArkorError("This result was not made by a trainer: use CloudApiClient.download_artifact instead.")


Download = Callable[[str, Artifact, Path, "Progress | None"], Path]

FetchSamples = Callable[[str, "float | None", "threading.Event | None"], "Samples"]
"""Fetches a job's samples: of which job, in how many seconds, and what ends it when set."""

Evaluate = Callable[[str, str, "EvaluateOptions"], "EvaluationReport"]
"""Makes the call of a name, ``evaluate`` or ``report``, for a job, with options."""

Export = Callable[[str, "ExportSettings"], Path]
"""Exports a job, with settings."""

Reproduce = Callable[[str, "ReproduceOptions"], "Reproduction"]
"""Trains once more what a job trained, and compares."""


@attrs.frozen(repr=False)
class TrainingResult:
    """How a run ended.

    Attributes:
        job: the job in its last known state.
        artifacts: what the job left, as its last event named them.
    """

    job: TrainingJob
    artifacts: tuple[Artifact, ...] = ()
    _download: Download = attrs.field(default=_no_download, kw_only=True, repr=False, eq=False)
    _ask: Callable[..., ChatResponse] | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _metrics: Callable[[str], Metrics] | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _samples: FetchSamples | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _receipt: Callable[[str], Receipt | None] | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _record: Callable[[str], TrainingRecord | None] | None = attrs.field(
        default=None, kw_only=True, repr=False, eq=False
    )
    _evaluate: Evaluate | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _export: Export | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)
    _reproduce: Reproduce | None = attrs.field(default=None, kw_only=True, repr=False, eq=False)

    @property
    def status(self) -> str:
        """The job's status: ``completed``, ``failed`` or ``cancelled``."""
        return self.job.status

    def raise_for_status(self) -> None:
        """Do nothing for a completed job.

        Raises:
            TrainingFailed: the job failed or was cancelled.
        """
        if self.job.status != JobStatus.COMPLETED:
            raise TrainingFailed(self)

    def download(self, dest: str | Path = "adapters", *, on_progress: Progress | None = None) -> list[Path]:
        """Download every artifact of the run and unpack it.

        Args:
            dest: a folder, created where missing; each artifact becomes a folder of its own name in it.
            on_progress: called as the bytes of one artifact after the other arrive, see
                ``CloudApiClient.download_artifact``.

        Returns:
            The folders, in the order of ``artifacts``, without the checkpoints that ``save_total_limit`` has removed.

        Raises:
            ConnectionFailed, CloudApiError: the backend did not answer, or with an error.
            UnsupportedByBackend: the backend keeps its artifacts to itself.
        """
        may_be_removed = self.job.config.get("saveTotalLimit") is not None
        folders = []
        for artifact in self.artifacts:
            try:
                folders.append(self._download(self.job.id, artifact, Path(dest), on_progress))
            except CloudApiError as exc:
                if exc.status != HTTPStatus.GONE or not may_be_removed:
                    raise
        return folders

    @property
    def receipt(self) -> Receipt | None:
        """What became of the rows: how many were learnt from, cut or dropped; it is fetched at each access.

        None if the backend does not say, as Arkor Cloud.

        Raises:
            As ``CloudApiClient.job_receipt`` does.
        """
        if self._receipt is None:
            raise ArkorError("This result was not made by a trainer: use CloudApiClient.job_receipt instead.")
        return self._receipt(self.job.id)

    @property
    def record(self) -> TrainingRecord | None:
        """What made the adapter: settings, model, rows, versions and machine; it is fetched at each access.

        ``arkor.json`` beside the adapter has the same. None if the backend does not say, as Arkor Cloud.

        Raises:
            As ``CloudApiClient.job_record`` does.

        Example:
            ``result.record.versions["torch"]``
        """
        if self._record is None:
            raise ArkorError("This result was not made by a trainer: use CloudApiClient.job_record instead.")
        return self._record(self.job.id)

    def metrics(self) -> Metrics:
        """Fetch the history of the run's figures: loss, evaluation loss, learning rate and their kin.

        Returns:
            A list of ``TrainingLogEvent``, oldest first, with ``to_pandas()``; one entry for each log event as it came.

        Raises:
            As ``CloudApiClient.job_metrics`` does.
        """
        if self._metrics is None:
            raise ArkorError("This result was not made by a trainer: use CloudApiClient.job_metrics instead.")
        return self._metrics(self.job.id)

    def samples(self, *, timeout: float | None = None, abort_event: threading.Event | None = None) -> Samples:
        """Fetch the answers that the model gave while it was trained, see ``sample_prompts`` of ``Trainer``.

        Args:
            timeout: seconds for all of it; None for no limit.
            abort_event: when set, the call raises Aborted at once; by default the trainer's own.

        Returns:
            A list of ``Sample``, ordered by step, then by prompt, with ``at(step)`` and ``to_pandas()``; empty if
            nothing was asked.

        Raises:
            As ``CloudApiClient.job_samples`` does.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed.

        Example:
            ``print(result.samples().at(0)[0].answer)``
        """
        if self._samples is None:
            raise ArkorError("This result was not made by a trainer: use CloudApiClient.job_samples instead.")
        return self._samples(self.job.id, timeout, abort_event)

    def plot(self, axis: Any = None) -> Any:
        """Draw the losses of the run by step: the best loss on held-out rows marked, checkpoints as dashed lines.

        The figures are fetched at each call.

        Args:
            axis: an axis of matplotlib to draw on; None for SVG, which needs no other package.

        Returns:
            A ``Plot``, which a notebook shows and whose ``svg`` is the drawing; or the axis.

        Raises:
            As ``CloudApiClient.job_metrics`` does.

        Example:
            ``Path("loss.svg").write_text(result.plot().svg)``
        """
        from arkor.drawing.chart import plot

        marks = sorted(one.step for one in self.artifacts if one.kind == ADAPTER_KIND and one.step is not None)
        return plot(self.metrics().curves(), marks, axis)

    def evaluate(self, **options: Unpack[EvaluateOptions]) -> EvaluationReport:
        """Have the backend find out whether the adapter is better than the model that the training started from.

        Both answer the rows that the job held out. Scorers that fit the rows score the answers. The report says whether
        the difference is more than chance; ``print`` shows it in a few lines. The backend keeps it with the job.

        Args:
            options: what to ask, of whom, and how to score it, see ``arkor.client.evaluate_options.EvaluateOptions``.

        Raises:
            UnknownOption, ConfigError: an option is none, or out of its range; nothing was sent.
            DatasetError: the rows cannot be read.
            EvaluationFailed: the evaluation could not be made, or was cancelled.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the evaluation goes on, and
                ``report()`` waits for it.
            UnsupportedByBackend: the backend makes no evaluations.

        Example:
            ``print(result.evaluate(limit=100))``
        """
        return self._reported("evaluate", options)

    def report(self, **options: Unpack[EvaluateOptions]) -> EvaluationReport:
        """Return the newest report of the run, and wait for it if its evaluation has not ended.

        Args:
            options: ``timeout``, ``abort_event`` and ``on_progress``, as of ``evaluate``.

        Raises:
            NotFound: no evaluation was asked for.
            As ``evaluate`` otherwise.

        Example:
            ``result.report(timeout=600).save("report.html")``
        """
        return self._reported("report", options)

    def export(self, **settings: Unpack[ExportSettings]) -> Path:
        """Have the backend make a folder that other programs load, and fetch it.

        What was made is loaded by its own engine and compared with what chats get; a folder that answers otherwise is
        not handed out. Its ``README.md`` says what it is, and how to use it.

        Args:
            settings: what it is to be, see ``arkor.client.exporting.ExportSettings``. ``to`` is required.

        Returns:
            The folder, in ``dest``.

        Raises:
            UnknownOption, ConfigError: a setting is none, or out of its range; nothing was sent.
            ExportFailed: it could not be made, answers otherwise than chats, or was cancelled.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the export goes on.
            UnsupportedByBackend: the backend makes no exports.

        Example:
            ``folder = result.export(to="merged")``
        """
        if self._export is None:
            raise ArkorError("This result was not made by a trainer: attach one with Trainer.attach(job_id).")
        return self._export(self.job.id, settings)

    def reproduce(self, **options: Unpack[ReproduceOptions]) -> Reproduction:
        """Train once more with the same settings, as a new job, and compare both adapters byte by byte.

        Before its first step the new job says what it is made from. If a version, the machine, the model, the rows or a
        setting is not as it was, the new job is cancelled and an error names the first difference.

        Args:
            options: see ``arkor.client.reproduce_options.ReproduceOptions``; none is required.

        Returns:
            Whether the bytes are the same, and in what they differ first; ``print`` shows it.

        Raises:
            UnknownOption: there is no such option; nothing was sent.
            ConfigError: the job has no final adapter.
            NotReproducible: something is not as it was, and ``anyway`` is not set.
            TrainingFailed: the new job failed or was cancelled.
            Aborted, WaitTimeout: the abort event was set, or the timeout passed; the new job goes on, and ``with_job``
                of another call waits for it.

        Example:
            ``print(result.reproduce(timeout=3600))``
        """
        if self._reproduce is None:
            raise ArkorError("This result was not made by a trainer: attach one with Trainer.attach(job_id).")
        return self._reproduce(self.job.id, options)

    def _reported(self, call: str, options: EvaluateOptions) -> EvaluationReport:
        if self._evaluate is None:
            raise ArkorError("This result was not made by a trainer: attach one with Trainer.attach(job_id).")
        return self._evaluate(call, self.job.id, options)

    def chat(self, *, base: bool = False, **options: Unpack[ChatOptions]) -> ChatResponse:
        """Ask what was trained.

        Args:
            base: ask the model that the training started from instead, to compare.
            options: the question, see ``arkor.client.chat.ChatOptions``.

        Raises:
            As ``CloudApiClient.chat`` does.
        """
        return self._answer("chat", options, base=base)

    def complete(self, *, base: bool = False, **options: Unpack[CompletionOptions]) -> ChatResponse:
        r"""Let what was trained go on with a text, without a chat template.

        A job whose ``prompt_form`` is ``raw`` was trained so: on rows of ``text``, with ``apply_chat_template=False``,
        or with a model that has no chat template.

        Args:
            base: ask the model that the training started from instead, to compare.
            options: the text and how to go on, see ``arkor.client.chat.CompletionOptions``.

        Raises:
            As ``CloudApiClient.complete`` does.

        Example:
            ``result.complete(prompt="Q: What is arkor?\nA:", max_tokens=40).text``
        """
        return self._answer("complete", options, base=base)

    def _answer(self, call: str, options: Mapping[str, Any], *, base: bool) -> ChatResponse:
        if self._ask is None:
            raise ArkorError(f"This result was not made by a trainer: use CloudApiClient.{call} instead.")
        if base:
            return self._ask(call, base_model=wire.text(self.job.config.get("model")), **options)
        return self._ask(call, adapter=AdapterRef("final", self.job.id), **options)

    def __repr__(self) -> str:
        made = many(len(self.artifacts), "artifact")
        error = f": {self.job.error}" if self.job.error else ""
        return one_line(f"<TrainingResult {self.job.id} {self.job.name!r}, {self.status}{error}, {made}>")

    def _repr_html_(self) -> str:
        names = ", ".join(artifact.name for artifact in self.artifacts)
        return table({**self.job.facts(), "artifacts": one_line(names)}.items())

    def __reduce__(self) -> tuple[type[TrainingResult], tuple[TrainingJob, tuple[Artifact, ...]]]:
        """Pickle what was measured; the connection stays behind."""
        return (TrainingResult, (self.job, self.artifacts))

    def __copy__(self) -> TrainingResult:
        """Return this very result, with its connection."""
        return self

    def __deepcopy__(self, _memo: Mapping[int, Any]) -> TrainingResult:
        """Return this very result, with its connection."""
        return self


def final_adapter(result: TrainingResult, setting: str) -> AdapterRef:
    """Return the final adapter of a run.

    Args:
        result: of the run.
        setting: what it was given for.

    Raises:
        ConfigError: the run has none.
    """
    if result.status != JobStatus.COMPLETED:
        raise ConfigError(setting, f"job {result.job.id} has no final adapter: its status is {result.status}")
    return AdapterRef("final", result.job.id)

"""A worker that trains nothing: it speaks the real worker protocol and does what the job's name says.

``python -m tests.support.scripted_worker SPEC``. Names are ``<behaviour>[:<argument>]``:

- ``complete:N``: N steps, then the adapter. With ``saveSteps`` a checkpoint is saved at its multiples, with
  ``evalSteps`` an evaluation is logged, with ``samplePrompts`` each checkpoint, the base model and the last step have
  samples. A later attempt, and a resumed job, go on from the last whole checkpoint: they tell again what this job did
  until then, and go on with the step after it, as the real worker does.
- ``gated:N``: the same, but before step k it waits until ``allow(job_dir, k)`` was called.
- ``slow:N``: the same as ``complete``, with a tenth of a second between two steps.
- ``stumble:HOW@K/N``: the same as ``complete:N``, but an attempt that has begun before step K ends after it. HOW is
  ``fail``, as a worker does that knows why, an exit code (12: memory ran out, 28: the disk is full), or minus the
  number of a signal. If ``saveSteps`` divides K, the next attempt begins with K and completes; otherwise it stumbles
  again.
- ``crash:CODE``: writes to its log and exits without a word.
- ``fail``: fails as a worker does that knows why.
- ``hang``: reports, but heeds neither a cancel nor SIGTERM; has a child process.
- ``silent``: starts, then never reports again.
- ``lost``: exits with 3 as one that lost its backend.
- ``linger``: completes, but its process stays.
- ``odd``: logs numbers that JSON does not have, and sends each report twice.
- any other name: as ``complete`` with the job's ``maxSteps``.

Like the real worker it does not wait for the backend between two steps: events queue up while that is away. After
``GIVE_UP_S`` without an answer it saves a checkpoint and exits with 3.

What the file ``~/behaviour`` says stands in for the name, for jobs whose name is not the test's to choose. The file
``~/record.json``, if it is there, is the ``record`` of ``training.started``.

It leaves ``pid-<attempt>`` in the job's folder, and ``child-pid`` where it has a child. Its log says after which step
an attempt that trains begins.
"""

from __future__ import annotations

import hashlib
import http.client
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

import attrs

from arkor.backend.jobs import checkpoints
from arkor.backend.jobs.job_files import ARTIFACTS, JobFiles
from arkor.backend.storage.choose import open_storage
from arkor.version import __version__

HEARTBEAT_S = 0.1
GIVE_UP_S = 20.0
LAST_WORDS_S = 2.0  # to tell what is untold, before an end that is no verdict
ORPHAN_GRACE_S = 10.0  # until one without a backend, which does not look whether to stop, ends all the same


_CHECKPOINT_FILES = (
    *("adapter_config.json", "adapter_model.safetensors", "optimizer.pt", "rng_state.pth", "scheduler.pt"),
    "trainer_state.json",
)


def allow(job_dir: Path, step: int) -> None:
    """Let a gated job go on up to and including a step."""
    _replace(job_dir / "allowed", str(step).encode())


class Reporter:
    """Sends events in order until each is acknowledged, and heartbeats in between. Thread-safe."""

    def __init__(self, spec: dict[str, Any], stop: StopFlag, *, repeat: bool = False) -> None:
        self._backends = [spec["backendUrl"]]  # the first one is asked, and the next one when it is gone
        self._path = f"/internal/jobs/{spec['jobId']}/events"
        self._attempt = spec["attempt"]
        self._stop = stop
        self._repeat = repeat
        self._headers = {
            "Authorization": f"Bearer {spec['token']}",
            "Content-Type": "application/json",
            "X-Arkor-Client": f"arkor/{__version__}",
        }
        # urllib, and no proxies: requests takes longer to import than most of these workers live.
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        self._changed = threading.Condition()
        self._unsent: list[dict[str, Any]] = []
        self._seq = 0
        self._muted = False
        self._orphaned = False
        self.cancelled = threading.Event()
        threading.Thread(target=self._loop, daemon=True).start()

    def send(self, kind: str, **fields: Any) -> None:
        with self._changed:
            self._seq += 1
            self._unsent.append({"seq": self._seq, "type": kind, "timestamp": "2026-01-01T00:00:00.000Z", **fields})
            self._changed.notify_all()

    def flush(self, timeout_s: float | None = None) -> None:
        """Wait until every event is acknowledged, or so many seconds; exit with 3 where the backend is gone."""
        with self._changed:
            self._changed.wait_for(lambda: not self._unsent or self._orphaned, timeout_s)
            if self._unsent and self._orphaned:
                os._exit(3)

    def mute(self) -> None:
        """Never report again."""
        self.flush()
        self._muted = True

    def _loop(self) -> None:
        contact = time.monotonic()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: bool(self._unsent), HEARTBEAT_S)
                batch = list(self._unsent)
            if self._muted:
                return
            if self._post(batch):
                contact = time.monotonic()
            elif time.monotonic() - contact > GIVE_UP_S:
                self._leave()
                return

    def _leave(self) -> None:
        self._stop.code = self._stop.code or 3
        with self._changed:
            self._orphaned = True
            self._changed.notify_all()
        timer = threading.Timer(ORPHAN_GRACE_S, os._exit, [3])
        timer.daemon = True
        timer.start()

    def _post(self, batch: list[dict[str, Any]]) -> bool:
        body = json.dumps({"attempt": self._attempt, "events": batch}).encode()
        request = urllib.request.Request(self._backends[0] + self._path, body, self._headers)
        try:
            for _ in range(1 + self._repeat):
                with self._http.open(request, timeout=5) as answer:
                    said = json.load(answer)
        except urllib.error.HTTPError as exc:
            with exc:
                print("refused:", exc.code, exc.read(), flush=True)
            if exc.code == 409:
                os._exit(5)
            return False
        except (OSError, http.client.HTTPException):
            self._backends.append(self._backends.pop(0))
            return False
        self._backends = [self._backends[0], *said.get("servers", [])]
        if said["cancel"]:
            self.cancelled.set()
        with self._changed:
            del self._unsent[: len(batch)]
            self._changed.notify_all()
        return True


class Training:
    """The steps of a job that completes, resumes, is cancelled or is told to stop."""

    def __init__(self, spec: dict[str, Any], reporter: Reporter, stop: StopFlag) -> None:
        self._spec = spec
        self._config = spec["config"]
        self._reporter = reporter
        self._stop = stop
        self.job_dir = Path(spec["jobDir"])
        self._checkpoints = self.job_dir / "checkpoints"
        self._files = JobFiles.of(open_storage(spec["storage"]), self.job_dir)
        self._resumed_from = self._spec["resumedFromStep"]
        self.begun_with = 0

    def run(self, steps: int, before_step: Callable[[int], None]) -> None:
        done = self.begun_with = self._last_checkpoint()
        print(f"attempt {self._spec['attempt']} begins after step {done}", flush=True)
        resumed = {"resumedFromStep": done} if done else {}
        record = Path.home() / "record.json"
        made_from = {"record": json.loads(record.read_bytes())} if record.exists() else {}
        metadata = {"model": self._config["model"], "maxSteps": steps, **made_from, **resumed}
        self._reporter.send("training.started", metadata=metadata)
        self._tell_again(done)
        if not done:
            self._sample(0)
        for step in range(done + 1, steps + 1):
            before_step(step)
            self._end_early(step - 1)
            self._log(step)
            if self._is_saved(step) or step == steps:
                self._sample(step)
            if self._is_saved(step):
                self._publish(step)
            if self._is_saved(step) or step == steps:
                self._keep(step)
        artifact = self._artifact("adapter", None)
        metrics: dict[str, Any] = {"trainLoss": 1.0 / steps, "steps": steps, "seconds": 0.1}
        if self._config.get("loadBestModelAtEnd"):  # its loss falls with each step
            metrics |= {"bestStep": steps, "bestEvalLoss": 2.0 / steps}
        if self._config.get("earlyStoppingPatience"):
            metrics["endReason"] = "max_steps"
        published = [self._artifact(f"checkpoint-{step}", step) for step in self._published()]
        self._reporter.send("training.completed", metrics=metrics, artifacts=[artifact, *published])
        self._reporter.flush()

    def _tell_again(self, done: int) -> None:
        """Tell what earlier attempts at this job did, up to the checkpoint that this one continues from."""
        for step in range((self._resumed_from or 0) + 1, done + 1):
            self._log(step)
            if self._is_saved(step):
                self._sample(step)
            if step in self._published():
                self._publish(step)

    def _log(self, step: int) -> None:
        self._reporter.send("training.log", step=step, loss=1.0 / step, learningRate=1e-4, epoch=step / 10)
        if step % self._config.get("evalSteps", step + 1) == 0:
            self._reporter.send("training.log", step=step, evalLoss=2.0 / step)

    def _sample(self, step: int) -> None:
        """Tell answers to so many rows, or to the prompts that were given."""
        asked = self._config.get("samplePrompts", 0)
        prompts = range(1, asked + 1) if isinstance(asked, int) else asked
        for number, prompt in enumerate(prompts):
            said = {"step": step, "sample": number, "answer": f"answer {number + 1} of step {step}"}
            of_row = {"row": prompt, "prompt": [{"role": "user", "content": "?"}], "expected": "yes", "exact": False}
            self._reporter.send("sample.made", **said, **(of_row if isinstance(prompt, int) else {"prompt": prompt}))

    def _publish(self, step: int) -> None:
        self._reporter.send("checkpoint.saved", step=step, artifacts=[self._artifact(f"checkpoint-{step}", step)])

    def _keep(self, step: int) -> None:
        """Save a whole checkpoint: after it was published, because a later attempt does not do its step again."""
        folder = self._checkpoints / f"checkpoint-{step}"
        if not checkpoints.is_complete(folder):
            folder.mkdir(parents=True, exist_ok=True)
            for name in _CHECKPOINT_FILES:
                _replace(folder / name, f"{name} of step {step}".encode())
            checkpoints.mark_complete(folder)
        checkpoints.store(self._files, folder)
        checkpoints.keep_only(self._checkpoints, folder)
        checkpoints.forget_older(self._files, step)

    def _is_saved(self, step: int) -> bool:
        return bool(step % self._config.get("saveSteps", step + 1) == 0)

    def _published(self) -> list[int]:
        names = (Path(name).stem.partition("-") for name in self._files.names(ARTIFACTS))
        return sorted(int(step) for name, _, step in names if name == "checkpoint")

    def _end_early(self, step: int) -> None:
        if self._reporter.cancelled.is_set():
            self._reporter.send("training.cancelled", step=step)
            self._reporter.flush()
            sys.exit(0)
        if self._stop.code is not None:
            if step:
                self._keep(step)
            self._reporter.flush(LAST_WORDS_S)
            sys.exit(self._stop.code)

    def wait_for_gate(self, step: int) -> None:
        """Wait until the test lets this step happen, or the job is to end."""
        path = self.job_dir / "allowed"
        while not (path.exists() and int(path.read_text()) >= step):
            if self._reporter.cancelled.is_set() or self._stop.code is not None:
                return
            self._reporter.cancelled.wait(0.01)

    def _last_checkpoint(self) -> int:
        """Return the step of the checkpoint that this attempt goes on from; 0 if it begins anew."""
        if self._spec["attempt"] == 1 and self._resumed_from is None:
            return 0
        found = checkpoints.newest(self._files)
        assert found is not None or self._resumed_from is None, "the checkpoint of the resumed job is damaged"
        return 0 if found is None else checkpoints.step_of(found)

    def _artifact(self, name: str, step: int | None) -> dict[str, Any]:
        content = _tar({"adapter_config.json": b'{"r": 8}', "adapter_model.safetensors": f"{name}".encode() * 999})
        tar = self.job_dir / ARTIFACTS / f"{name}.tar"
        _replace(tar, content)
        self._files.hand_over(tar)
        found = {"name": name, "kind": "adapter", "sizeBytes": len(content)}
        found["sha256"] = hashlib.sha256(content).hexdigest()
        return found if step is None else {**found, "step": step}


@attrs.frozen
class Work:
    """What a behaviour works with; ``argument`` is what follows the colon of the job's name."""

    argument: str
    reporter: Reporter
    training: Training


def _tar(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in sorted(files.items()):
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


def _replace(path: Path, content: bytes) -> None:
    temporary = path.with_name(f".{path.name}.new")
    temporary.write_bytes(content)
    temporary.replace(path)


class StopFlag:
    """Whether to stop, and with which exit code. Plain, because a handler must not touch a lock of the main thread."""

    code: int | None = None

    def note(self, *_: object) -> None:
        self.code = self.code or 4


def _complete(work: Work) -> None:
    work.training.run(int(work.argument), lambda _: None)


def _gated(work: Work) -> None:
    work.training.run(int(work.argument), work.training.wait_for_gate)


def _slow(work: Work) -> None:
    def pause(_: int) -> None:
        work.reporter.cancelled.wait(0.1)

    work.training.run(int(work.argument), pause)


def _stumble(work: Work) -> None:
    how, _, where = work.argument.partition("@")
    last, _, steps = where.partition("/")

    def end_after_the_last(step: int) -> None:
        if step != int(last) + 1 or work.training.begun_with >= int(last):
            return
        if how == "fail":
            _fail(work, int(last))
        work.reporter.flush()
        if int(how) < 0:
            os.kill(os.getpid(), -int(how))
        os._exit(int(how))

    work.training.run(int(steps), end_after_the_last)


def _crash(work: Work) -> None:
    print("\n".join(f"line {number} of its output" for number in range(1, 41)), flush=True)
    print("RuntimeError: the scripted worker was told to crash", file=sys.stderr, flush=True)
    os._exit(int(work.argument))


def _fail(work: Work, step: int = 3) -> NoReturn:
    work.reporter.send("training.failed", error="The scripted worker was told to fail.", step=step)
    work.reporter.flush()
    sys.exit(1)


def _hang(work: Work) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    child = subprocess.Popen([sys.executable, "-c", "import signal; signal.pause()"])
    _replace(work.training.job_dir / "child-pid", str(child.pid).encode())
    work.reporter.send("training.started", metadata={})
    threading.Event().wait()


def _silent(work: Work) -> None:
    work.reporter.send("training.started", metadata={})
    work.reporter.mute()
    signal.pause()


def _lost(work: Work) -> None:
    work.reporter.flush()
    sys.exit(3)


def _linger(work: Work) -> None:
    work.training.run(1, lambda _: None)
    signal.pause()


def _odd(work: Work) -> None:
    work.reporter.send("training.started", metadata={"loss": float("nan")})
    work.reporter.send("training.log", step=1, loss=float("inf"))
    work.reporter.send("training.log", step=2, loss=0.5)
    work.reporter.send("training.completed", metrics={"trainLoss": float("-inf")}, artifacts=[])
    work.reporter.send("training.log", step=3, loss=0.1)
    work.reporter.flush()


_BEHAVIOURS: dict[str, Callable[[Work], None]] = {
    "complete": _complete,
    "gated": _gated,
    "slow": _slow,
    "stumble": _stumble,
    "crash": _crash,
    "fail": _fail,
    "hang": _hang,
    "silent": _silent,
    "lost": _lost,
    "linger": _linger,
    "odd": _odd,
}


def main() -> None:
    """Read the spec that the command line names, and behave."""
    spec = json.loads(Path(sys.argv[1]).read_text())
    stop, ordered = StopFlag(), Path.home() / "behaviour"
    signal.signal(signal.SIGTERM, stop.note)
    behaviour, _, argument = (ordered.read_text() if ordered.exists() else spec["name"]).partition(":")
    training = Training(spec, reporter := Reporter(spec, stop, repeat=behaviour == "odd"), stop)
    _replace(training.job_dir / f"pid-{spec['attempt']}", str(os.getpid()).encode())
    if behaviour not in _BEHAVIOURS:
        behaviour, argument = "complete", str(spec["config"].get("maxSteps", 3))
    _BEHAVIOURS[behaviour](Work(argument, reporter, training))


if __name__ == "__main__":
    main()

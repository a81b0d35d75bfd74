"""The processes of an attempt on several devices, as the first one sees them: what it does if one of them ends."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.storage.local import LocalStorage
from arkor.backend.training_worker import __main__ as worker, others
from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.others import ProcessEnded, leave, team_of
from arkor.backend.training_worker.plan import Plan
from arkor.backend.training_worker.stopping import Interrupted, Position, StopReason
from arkor.backend.training_worker.team import Team
from arkor.protocol.config import JobConfig
from tests.support.attempts import UPLOADED, attempt
from tests.support.backend import ROOT
from tests.support.eventually import eventually

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [127.0.0.1]:4747")


class OfOneProcess(LocalStorage):
    """A storage that cannot be sent to another process, as that in S3."""

    def __reduce__(self) -> str:
        raise TypeError("it has open connections")


@pytest.fixture(autouse=True)
def scripted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(others, "PARTNER", "tests.support.scripted_partner")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setattr(others, "_LAST_WORDS_S", 20.0)  # the machine may be busy
    monkeypatch.setattr(others, "joined", lambda rank, size, _meeting, *, is_cpu: Team(rank, size))


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    (tmp_path / "shared").mkdir()
    return tmp_path / "shared"


def plan(folder: Path, name: str, **fields: Any) -> Plan:
    config = JobConfig(model="m", dataset_source=UPLOADED, devices=len(name.split(",")) + 1)
    return Plan(
        spec=attempt(config, folder, None, name=name, **fields),
        device=Device("cpu", "float32"),
        model_path="m",
        resumed=None,
        tries_longest=False,
    )


def test_the_others_end_with_the_training(tmp_path: Path, shared: Path) -> None:
    """What they shared goes too."""
    with team_of(plan(tmp_path, "complete,complete"), shared, leave) as team:
        assert (team.size, team.is_first) == (3, True)
    assert not shared.exists()


def test_the_storage_is_not_passed_on(tmp_path: Path, shared: Path) -> None:
    """It may have connections, and the first process alone uses it."""
    with team_of(plan(tmp_path, "complete", storage=OfOneProcess(tmp_path)), shared, leave) as team:
        assert team.size == 2


def test_the_others_are_ended_if_the_first_stops(tmp_path: Path, shared: Path) -> None:
    """At once: it has saved, or there is nothing to save."""
    with pytest.raises(Interrupted), team_of(plan(tmp_path, "stay"), shared, leave):
        raise Interrupted(StopReason.CANCELLED)
    assert not shared.exists()


def test_each_has_a_gpu_of_its_own(tmp_path: Path, shared: Path) -> None:
    """The first process has the first of the attempt's."""
    with team_of(plan(tmp_path, "stay,stay", gpus=("GPU-c", "GPU-b", "GPU-a")), shared, leave):
        files = [shared / f"gpu-{rank}" for rank in (1, 2)]
        eventually(lambda: all(file.exists() and file.read_text() for file in files), "both have begun", 20)
        assert [file.read_text() for file in files] == ["GPU-b", "GPU-a"]


@pytest.mark.parametrize(
    ("name", "code", "says"),
    [
        ("1:there is no such file", 1, "On device 2 of 2: there is no such file"),
        ("lose,12:Not enough memory", 12, "On device 3 of 3: Not enough memory"),
        ("-9", -9, "On device 2 of 2: its worker was killed by signal SIGKILL (often: out of memory)"),
        ("stay,7", 7, "On device 3 of 3: its worker ended with exit code 7"),
    ],
)
def test_an_attempt_ends_as_its_process_did(tmp_path: Path, shared: Path, name: str, code: int, says: str) -> None:
    """Not with what the first one sees of it, nor because of those that only noticed it."""
    with pytest.raises(ProcessEnded) as raised, team_of(plan(tmp_path, name), shared, leave):
        raise LOST
    assert raised.value.__cause__ is LOST
    assert (raised.value.exit_code, str(raised.value)) == (code, says)


def test_a_failure_of_the_first_process_is_its_own(tmp_path: Path, shared: Path) -> None:
    """The others end because of it."""
    with pytest.raises(ValueError, match="odd"), team_of(plan(tmp_path, "stay"), shared, leave):
        raise ValueError("odd")


def test_a_first_process_that_waits_for_one_that_is_gone_is_left(
    tmp_path: Path, shared: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A GPU's library may wait for ever, and raise nothing."""
    monkeypatch.setattr(others, "_UNWIND_S", 0.05)
    is_left, ended = threading.Event(), list[ProcessEnded]()

    def note(how: ProcessEnded) -> None:
        ended.append(how)
        is_left.set()

    with team_of(plan(tmp_path, "12:Not enough memory"), shared, note):
        assert is_left.wait(30)
    assert [how.exit_code for how in ended] == [12]


class Backend:
    """Stands in for the reporter."""

    def __init__(self) -> None:
        self.sent: list[dict[str, Any]] = []

    def send(self, kind: str, **fields: Any) -> None:
        self.sent.append({"type": kind, **fields})

    def flush(self, _timeout_s: float | None = None) -> bool:
        return True


@pytest.mark.parametrize(
    ("exit_code", "batch_size", "code"), [(12, 4, 12), (12, 1, 1), (28, 1, 28), (1, 4, 1), (7, 4, 1)]
)
def test_the_worker_ends_as_another_process_did(tmp_path: Path, exit_code: int, batch_size: int, code: int) -> None:
    """For want of memory, or of room on the disk, to be resumed; otherwise with the reason."""
    config = JobConfig(model="m", dataset_source=UPLOADED, devices=2, batch_size=batch_size)
    spec, position, backend = attempt(config, tmp_path, None, takes_faults=True), Position(), Backend()
    position.has_begun = True
    ended = ProcessEnded(1, 2, exit_code, "why it ended")
    assert worker._failed(ended, spec, backend, position) == code  # type: ignore[arg-type]
    told = [{"type": "training.failed", "error": "On device 2 of 2: why it ended"}] if code == 1 else []
    assert backend.sent == told


def test_the_worker_dies_of_the_signal_that_another_process_died_of(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If it handles the signal itself, it is killed."""
    signals = list[int]()
    monkeypatch.setattr("os.kill", lambda _pid, number: signals.append(number))
    spec = attempt(JobConfig(model="m", dataset_source=UPLOADED, devices=2), tmp_path, None)
    worker._failed(ProcessEnded(1, 2, -11, "why"), spec, Backend(), Position())  # type: ignore[arg-type]
    assert signals == [11, 9]


def test_one_process_is_a_team(tmp_path: Path) -> None:
    """It asks nobody, and nothing is started."""
    with team_of(plan(tmp_path, "complete"), None, leave) as team:
        team.wait()
        team.check(None)
        assert (team.told(3), team.measured(lambda: 0.5)) == (3, 0.5)
        with pytest.raises(Interrupted):
            team.check(StopReason.TERMINATED)
        with pytest.raises(Interrupted):
            team.measured(_interrupted(StopReason.CANCELLED))


def _interrupted(reason: StopReason) -> Callable[[], float]:
    def measure() -> float:
        raise Interrupted(reason)

    return measure

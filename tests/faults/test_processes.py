"""A waiting script and its server as real processes: killed, stopped, started again, interrupted."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor import Callbacks, HuggingFaceDataset, Trainer
from arkor.client.client import CloudApiClient
from arkor.client.project import ensure_project
from arkor.errors import ArkorError, ConnectionFailed, RateLimited, ServerError
from tests.support.backend import BackendProcess
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Late, Stream
from tests.support.events import END, PING, PLAN, completed, frames, log, started
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model

SCRIPT = """\
import json
import logging
import sys
import threading
from pathlib import Path

from arkor import Callbacks, HuggingFaceDataset, ReconnectPolicy, Trainer

settings = json.loads(sys.argv[1])
hold, again = settings.pop("hold", ""), settings.pop("again", False)
seconds = settings.pop("seconds", 0)
logging.basicConfig(filename="log", level=logging.INFO)


def note(line):
    with Path("told").open("a") as told:
        told.write(line + "\\n")
    if line == hold:
        threading.Event().wait()
    threading.Event().wait(seconds)


def noting(name):
    return lambda context: note(f"{name} {context.step}" if hasattr(context, "step") else name)


if settings.pop("abortable", False):
    settings["abort_event"] = threading.Event()
settings["reconnect"] = ReconnectPolicy(**settings.get("reconnect", {}))
names = ("started", "log", "checkpoint", "completed", "failed")
trainer = Trainer(
    dataset=HuggingFaceDataset("owner/rows"), callbacks=Callbacks(**{f"on_{name}": noting(name) for name in names}),
    **settings,
)
try:
    trainer.wait()
except KeyboardInterrupt:
    if not again:
        raise
    note(f"interrupted with {trainer.job and trainer.job.id}")
    trainer.wait()
note("returned")
"""
INTERRUPTED_SCRIPT = """\
import json
import random
import signal
import sys
import traceback

from arkor import Callbacks, HuggingFaceDataset, Trainer

settings = json.loads(sys.argv[1])
steps, told, interrupts, is_armed = settings["max_steps"], [], 0, False


def on_log(context):
    global is_armed
    told.append(context.step)
    if not is_armed and context.step < 0.8 * steps:
        is_armed = True
        signal.setitimer(signal.ITIMER_REAL, random.uniform(0.00002, 0.0003))


signal.signal(signal.SIGALRM, signal.default_int_handler)  # a Ctrl-C whose moment the script chooses
trainer = Trainer(dataset=HuggingFaceDataset("owner/rows"), callbacks=Callbacks(on_log=on_log), **settings)
while not (trainer.job and trainer.job.is_terminal):
    try:
        trainer.wait()
    except KeyboardInterrupt as exc:
        interrupts, is_armed = interrupts + 1, False
        for frame, _ in traceback.walk_tb(exc.__traceback__):
            if frame.f_code is on_log.__code__ and told[-1] != frame.f_locals["context"].step:
                told.append(frame.f_locals["context"].step)  # it was called, and interrupted before its first line
assert interrupts > 5, interrupts
assert told == list(range(1, steps + 1)), [step for step in range(1, steps + 1) if told.count(step) != 1]
"""
EVENTS = ["started", "log 1", "log 2", "checkpoint 2", "log 3", "completed"]  # of Cloud.plan, and of the backend's jobs
TOLD = [*EVENTS, "returned"]
TIMEOUT_S = 30.0
AT_ONCE_S = 5.0  # generous for a busy machine, and far below every timeout it stands against
A_WHILE_S = 0.3


@pytest.fixture(scope="module", autouse=True)
def _heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach the scripts also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


class Script:
    """A user's script that waits for its job, in the working directory and environment of the test.

    It appends what its callbacks are told, each a line, and at last ``returned``, to the file ``told``; arkor's log
    goes to the file ``log``.

    Args:
        settings: those of its trainer, and: ``hold``, the line after which it stays in its callback for ever;
            ``seconds``, which each callback takes; ``again``, whether it waits again after Ctrl-C; ``abortable``,
            whether it has an abort event.
    """

    def __init__(self, settings: dict[str, Any], program: str = SCRIPT) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-W", "error", "-c", program, json.dumps(settings)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
            text=True,
        )

    def kill(self) -> None:
        """Kill -9 it."""
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT_S)
        assert self.process.returncode == -signal.SIGKILL

    def interrupt(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def goes_on_for(self, timeout_s: float) -> bool:
        """Whether it is still there after some seconds."""
        try:
            self.process.wait(timeout_s)
        except subprocess.TimeoutExpired:
            return True
        return False

    def end(self, timeout_s: float = TIMEOUT_S) -> tuple[int, str]:
        """Wait for its end; return its exit code and what it wrote to stderr."""
        _, err = self.process.communicate(timeout=timeout_s)
        assert "Exception ignored" not in err, err
        return self.process.returncode, err

    def close(self) -> None:
        """Leave no process behind."""
        self.process.kill()
        self.process.communicate(timeout=TIMEOUT_S)


Launch = Callable[..., Script]


@pytest.fixture
def launch() -> Iterator[Launch]:
    """Start a script; its settings are keyword arguments."""
    made: list[Script] = []

    def start(program: str = SCRIPT, **settings: Any) -> Script:
        made.append(Script({"name": "run", "model": "m", **settings}, program))
        return made[-1]

    yield start
    for script in made:
        script.close()


@pytest.fixture
def backend(tmp_path: Path) -> Iterator[BackendProcess]:
    """A self-hosted backend of the test's own."""
    running = BackendProcess(tmp_path / "backend").start()
    yield running
    running.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A self-hosted backend for all tests that neither stop nor kill it."""
    running = BackendProcess(tmp_path_factory.mktemp("shared")).start()
    yield running
    running.close()


@attrs.frozen
class Server:
    """A server with jobs of the events in ``EVENTS``; ``settings`` lead a script there."""

    url: str
    settings: dict[str, Any]

    def jobs(self) -> list[str]:
        """Return the ids of this user's jobs."""
        client = CloudApiClient.connect(self.url)
        found = client.list_jobs(ensure_project(client, Path.cwd()))
        client.close()
        return [job.id for job in found]

    def followed_job(self) -> str:
        """Return the id of the only job, once a script follows it."""
        eventually(lambda: Path("told").exists(), "the job is followed")
        (job_id,) = self.jobs()
        return job_id


def on_backend(backend: BackendProcess, name: str) -> Server:
    """Return a backend with jobs that behave as the name says."""
    model = write_tiny_model(backend.home / "model")
    return Server(backend.url, {"backend": backend.url, "name": name, "model": str(model), "save_steps": 2})


@pytest.fixture(params=["cloud", "backend"])
def each_server(request: pytest.FixtureRequest, cloud: Cloud) -> Server:
    """Each kind of server."""
    if request.param == "cloud":
        return Server(cloud.url, {"backend": cloud.url})
    return on_backend(request.getfixturevalue("shared"), "complete:3")


def told() -> list[str]:
    """Return the lines that scripts were told so far."""
    file = Path("told")
    return file.read_text().splitlines() if file.exists() else []


def wait_until_told(line: str) -> None:
    """Wait until a script was told something."""
    eventually(lambda: line in told(), f"a script is told {line!r}")


def reconnects() -> int:
    """Return how often scripts have lost their connection so far."""
    return Path("log").read_text().count(": attempt ")


def remembered() -> dict[str, Any]:
    """Return what the file to remember the job by holds; nothing where there is none."""
    try:
        return dict(json.loads(Path("job.json").read_bytes()))
    except FileNotFoundError:
        return {}


def without_seams(runs: Sequence[Sequence[str]]) -> list[str]:
    """Join what several runs were told; what one began with may be what the one before ended with."""
    joined: list[str] = []
    for run in runs:
        joined += run[1:] if joined and run and run[0] == joined[-1] else run
    return joined


# kill -9, and remember=


@pytest.mark.parametrize("line", ["log 2", "completed"])
def test_a_script_killed_inside_a_callback_goes_on_with_that_event(
    each_server: Server, launch: Launch, line: str
) -> None:
    """The second run follows the same job; the event in flight alone is told again, and then nothing is remembered."""
    first = launch(**each_server.settings, remember="job.json", hold=line)
    wait_until_told(line)
    jobs = each_server.jobs()
    first.kill()
    assert launch(**each_server.settings, remember="job.json").end() == (0, "")
    at = EVENTS.index(line)
    assert told() == [*TOLD[: at + 1], *TOLD[at:]]
    assert each_server.jobs() == jobs
    assert not remembered()


def test_a_script_killed_between_two_events_repeats_none_on_the_cloud(cloud: Cloud, launch: Launch) -> None:
    """The event counts as told once its callback has returned, on a stream that is silent since."""
    cloud.stream(Stream(frames=frames(PLAN[:3]), gate=threading.Event()))
    first = launch(backend=cloud.url, remember="job.json")
    eventually(lambda: remembered().get("lastEventId") == "3", "the third event is remembered")
    first.kill()
    assert launch(backend=cloud.url, remember="job.json").end() == (0, "")
    assert told() == TOLD
    assert len(cloud.jobs) == 1
    assert cloud.streams[-1].headers["last-event-id"] == "3"


def test_a_script_killed_between_two_events_repeats_none_on_a_backend(shared: BackendProcess, launch: Launch) -> None:
    """The same where the job trains on meanwhile."""
    server = on_backend(shared, "gated:3")
    first = launch(**server.settings, remember="job.json")
    job_id = server.followed_job()
    shared.allow(job_id, 2)
    eventually(lambda: remembered().get("lastEventId") == "4", "the fourth event is remembered")
    first.kill()
    shared.allow(job_id, 3)
    assert launch(**server.settings, remember="job.json").end() == (0, "")
    assert told() == TOLD
    assert server.jobs() == [job_id]


def test_a_script_killed_before_the_answer_to_its_job_submits_no_second_one(cloud: Cloud, launch: Launch) -> None:
    """The backend has the job, the script does not know it: the second run asks under the same key, and follows it."""
    cloud.features = {"idempotent-jobs"}
    cloud.answer("POST", "/v1/jobs", Late(gate=threading.Event()))
    first = launch(backend=cloud.url, remember="job.json")
    eventually(lambda: cloud.jobs, "the job is there")
    first.kill()
    assert launch(backend=cloud.url, remember="job.json").end() == (0, "")
    assert told() == TOLD
    assert len(cloud.jobs) == 1
    assert len({call.headers["idempotency-key"] for call in cloud.calls("POST", "/v1/jobs")}) == 1


def test_a_script_killed_before_its_first_event_goes_on_with_its_job_on_the_cloud(cloud: Cloud, launch: Launch) -> None:
    """The job's id is remembered before its stream is opened, so nothing is submitted twice, with or without keys."""
    cloud.answer("GET", STREAM, Answer(gate=threading.Event()))
    first = launch(backend=cloud.url, remember="job.json")
    eventually(lambda: cloud.streams, "the stream is asked for")
    first.kill()
    assert launch(backend=cloud.url, remember="job.json").end() == (0, "")
    assert told() == TOLD
    assert len(cloud.calls("POST", "/v1/jobs")) == 1


def test_a_script_killed_as_its_job_is_queued_goes_on_with_it_on_a_backend(
    shared: BackendProcess, launch: Launch
) -> None:
    """Killed as soon as the backend has the job, whether the script knows of it or not."""
    server = on_backend(shared, "complete:3")
    client = shared.client()
    config = {"model": server.settings["model"], "datasetSource": {"type": "huggingface", "name": "owner/rows"}}
    before = client.submit("gated:1", config).json()["job"]["id"]  # keeps the script's job in the queue
    first = launch(**server.settings, remember="job.json")
    eventually(lambda: Path(".arkor").exists() and server.jobs(), "the job is queued")
    first.kill()
    shared.allow(before, 1)
    assert launch(**server.settings, remember="job.json").end() == (0, "")
    assert told() == TOLD
    assert len(server.jobs()) == 1


def test_a_script_killed_after_its_wait_returned_starts_a_new_job_next_time(
    shared: BackendProcess, launch: Launch
) -> None:
    """The end is not remembered: the file is gone, and the next run is a run of its own."""
    server = on_backend(shared, "complete:3")
    first = launch(**server.settings, remember="job.json", hold="returned")
    wait_until_told("returned")
    assert not remembered()
    first.kill()
    assert launch(**server.settings, remember="job.json").end() == (0, "")
    assert told() == [*TOLD, *TOLD]
    assert len(server.jobs()) == 2


def test_a_script_killed_again_and_again_loses_nothing(cloud: Cloud, launch: Launch) -> None:
    """Whenever the kills come, at most the event in flight is told again by the next run."""
    cloud.plan = [started(), *[log(step) for step in range(1, 201)], completed()]
    runs: list[list[str]] = []
    for _ in range(4):
        before = len(told())
        script = launch(backend=cloud.url, remember="job.json", seconds=0.005)
        eventually(lambda before=before: len(told()) > before + 3, "it is told something")  # type: ignore[misc]
        script.kill()
        runs.append(told()[before:])
    before = len(told())
    assert launch(backend=cloud.url, remember="job.json").end() == (0, "")
    runs.append(told()[before:])
    assert without_seams(runs) == ["started", *[f"log {step}" for step in range(1, 201)], "completed", "returned"]
    assert len(cloud.jobs) == 1
    assert not remembered()


def test_a_script_and_its_backend_killed_together_go_on_together(backend: BackendProcess, launch: Launch) -> None:
    """A machine that lost power: both are started again, and the job is followed to its end."""
    server = on_backend(backend, "gated:3")
    first = launch(**server.settings, remember="job.json")
    job_id = server.followed_job()
    backend.allow(job_id, 1)
    wait_until_told("log 1")
    first.kill()
    backend.kill()
    backend.allow(job_id, 3)
    backend.start()
    before = len(told())
    assert launch(**server.settings, remember="job.json").end() == (0, "")
    assert without_seams([told()[:before], told()[before:]]) == TOLD
    assert server.jobs() == [job_id]


def test_two_scripts_with_one_file_have_one_job(cloud: Cloud, launch: Launch) -> None:
    """A cron job that starts while the last one is still at it does not train twice: both follow the one job."""
    submitted, seen = threading.Event(), threading.Event()
    cloud.answer("POST", "/v1/jobs", Late(gate=submitted))
    cloud.stream(*[Stream(frames=[PING], gate=seen)] * 2)
    settings = {"backend": cloud.url, "remember": "job.json", "reconnect": {"base_delay": 0.05}}
    first = launch(**settings)
    eventually(lambda: cloud.calls("POST", "/v1/jobs"), "the first submits its job")
    second = launch(**settings)
    assert second.goes_on_for(2 * A_WHILE_S)
    submitted.set()
    eventually(lambda: len(cloud.streams) == 2, "both follow")
    seen.set()
    assert first.end() == second.end() == (0, "")
    assert sorted(told()) == sorted([*TOLD, *TOLD])
    assert len(cloud.jobs) == 1
    assert not remembered()


def make_trainer(cloud: Cloud, remember: Path, name: str = "run") -> Trainer:
    """Return a trainer that remembers its job."""
    return Trainer(
        name=name,
        model="m",
        dataset=HuggingFaceDataset("owner/rows"),
        callbacks=Callbacks(),
        backend=cloud.url,
        remember=remember,
    )


def _corrupt(file: Path) -> Path:
    file.write_bytes(b'{"jobId": "jo')
    return file


def _something_else(file: Path) -> Path:
    file.write_text("[1, 2, 3]")
    return file


def _a_folder(file: Path) -> Path:
    file.mkdir()
    return file


def _a_place_that_cannot_be_written(_: Path) -> Path:
    return Path("/dev/null/job.json")  # for root too


@pytest.mark.parametrize("spoil", [_corrupt, _something_else, _a_folder, _a_place_that_cannot_be_written])
def test_a_file_that_cannot_be_used_is_an_error_before_anything_is_sent(
    cloud: Cloud, project: Path, spoil: Callable[[Path], Path]
) -> None:
    """The error names the file, which is left as it is."""
    file = spoil(project / "job.json")
    before = file.read_bytes() if file.is_file() else None
    with pytest.raises(ArkorError, match=str(file)):
        make_trainer(cloud, file).wait()
    assert cloud.requests == []
    assert (file.read_bytes() if file.is_file() else None) == before


def test_the_file_of_another_job_is_an_error_before_anything_is_sent(cloud: Cloud, project: Path) -> None:
    """A path that two scripts share by mistake: neither follows the other's job."""
    file = project / "job.json"
    make_trainer(cloud, file, "one").start()
    content, before = file.read_bytes(), len(cloud.requests)
    with pytest.raises(ArkorError, match=str(file)):
        make_trainer(cloud, file, "other").wait()
    with pytest.raises(ArkorError, match=str(file)):
        Trainer.attach("job_2", backend=cloud.url, remember=file).wait()
    assert len(cloud.requests) == before
    assert file.read_bytes() == content


def test_the_key_is_kept_while_it_is_unknown_whether_the_job_was_made(cloud: Cloud, project: Path) -> None:
    """A gateway that gave up says nothing of the backend behind it: the next run asks under the same key."""
    cloud.features = {"idempotent-jobs"}
    cloud.answer("POST", "/v1/jobs", *[Answer(status=502, headers={"Retry-After": "0"})] * 3)
    with pytest.raises(ServerError):
        make_trainer(cloud, project / "job.json").start()
    make_trainer(cloud, project / "job.json").start()
    assert len({call.headers["idempotency-key"] for call in cloud.calls("POST", "/v1/jobs")}) == 1


def test_a_key_whose_answer_was_lost_outlives_a_later_refusal(cloud: Cloud, project: Path) -> None:
    """A backend that is too busy for the second run may have taken the job of the first: the third asks again."""
    cloud.features = {"idempotent-jobs"}
    busy = Answer(status=429, headers={"Retry-After": "0"})
    cloud.answer("POST", "/v1/jobs", *[Answer(cut=0)] * 3, *[busy] * 3)
    for expected in (ConnectionFailed, RateLimited):
        with pytest.raises(expected):
            make_trainer(cloud, project / "job.json").start()
    make_trainer(cloud, project / "job.json").start()
    assert len({call.headers["idempotency-key"] for call in cloud.calls("POST", "/v1/jobs")}) == 1


# A server that is stopped, or killed and started again


@contextlib.contextmanager
def stopped(backend: BackendProcess) -> Iterator[None]:
    """Keep a backend from doing anything inside the block, as a machine that sleeps does."""
    assert backend.process is not None
    backend.process.send_signal(signal.SIGSTOP)
    try:
        yield
    finally:
        backend.process.send_signal(signal.SIGCONT)


def test_a_server_that_is_stopped_for_longer_than_the_idle_timeout_is_waited_for(
    backend: BackendProcess, launch: Launch
) -> None:
    """A machine that slept: the dead connection is noticed, and each event is told once when the server is back."""
    server = on_backend(backend, "gated:3")
    script = launch(**server.settings, reconnect={"idle_timeout": 1.0, "base_delay": 0.05})
    job_id = server.followed_job()
    backend.allow(job_id, 1)
    wait_until_told("log 1")
    with stopped(backend):
        eventually(reconnects, "the connection counts as dead")
    backend.allow(job_id, 3)
    assert script.end() == (0, "")
    assert told() == TOLD
    assert server.jobs() == [job_id]


def test_a_server_that_is_killed_and_started_again_is_waited_for(backend: BackendProcess, launch: Launch) -> None:
    """Connections are refused for a while; then the stream goes on where it was, and each event is told once."""
    server = on_backend(backend, "gated:3")
    script = launch(**server.settings, reconnect={"base_delay": 0.05, "max_delay": 0.2})
    job_id = server.followed_job()
    backend.allow(job_id, 1)
    wait_until_told("log 1")
    backend.kill()
    eventually(lambda: reconnects() > 3, "connections are refused")
    backend.start()
    backend.allow(job_id, 3)
    assert script.end() == (0, "")
    assert told() == TOLD
    assert server.jobs() == [job_id]


# Ctrl-C


def _idle_stream(cloud: Cloud) -> Callable[[], object]:
    cloud.stream(Stream(frames=frames(PLAN[:1]), gate=threading.Event()))
    return told


def _stream_without_an_answer(cloud: Cloud) -> Callable[[], object]:
    cloud.answer("GET", STREAM, Answer(gate=threading.Event()))
    return lambda: cloud.streams


def _back_off(cloud: Cloud) -> Callable[[], object]:
    cloud.answer("GET", STREAM, Answer(status=503, headers={"Retry-After": "60"}))
    return lambda: cloud.streams and reconnects()


def _introduction(cloud: Cloud) -> Callable[[], object]:
    cloud.answer("POST", "/v1/auth/anonymous", Answer(gate=threading.Event()))
    return lambda: cloud.requests


def _question_for_the_verdict(cloud: Cloud) -> Callable[[], object]:
    cloud.stream(Stream(frames=[*frames(PLAN[:1]), END]))
    cloud.answer("GET", "/v1/jobs/*", Answer(gate=threading.Event()))
    return lambda: cloud.calls("GET", "/v1/jobs/*")


HOLDS = [_idle_stream, _stream_without_an_answer, _back_off, _introduction, _question_for_the_verdict]


@pytest.mark.parametrize("hold", [_idle_stream, _back_off, _introduction])
def test_ctrl_c_ends_a_script_at_once(
    cloud: Cloud, launch: Launch, hold: Callable[[Cloud], Callable[[], object]]
) -> None:
    """Wherever it waits: the traceback of a KeyboardInterrupt, the exit code of an interrupted program, no cancel."""
    is_held = hold(cloud)
    script = launch(backend=cloud.url)
    eventually(is_held, "the script is held")
    script.interrupt()
    code, err = script.end(AT_ONCE_S)
    assert code == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"
    assert not cloud.calls("POST", "/v1/jobs/*/cancel")


@pytest.mark.parametrize("hold", HOLDS)
def test_a_script_may_wait_again_after_ctrl_c(
    cloud: Cloud, launch: Launch, hold: Callable[[Cloud], Callable[[], object]]
) -> None:
    """The trainer goes on where it was, inside the except clause: each event is told once, of one job."""
    is_held = hold(cloud)
    script = launch(backend=cloud.url, again=True, abortable=True)
    eventually(is_held, "the script is held")
    script.interrupt()
    assert script.end() == (0, "")
    assert [line for line in told() if not line.startswith("interrupted")] == TOLD
    assert len(told()) == len(TOLD) + 1
    assert len(cloud.jobs) == 1


def test_ctrl_c_inside_a_callback_ends_a_script_at_once(cloud: Cloud, launch: Launch) -> None:
    """The callback is the user's own code: it is interrupted like any."""
    script = launch(backend=cloud.url, hold="log 2")
    wait_until_told("log 2")
    script.interrupt()
    code, err = script.end(AT_ONCE_S)
    assert code == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"


def test_a_script_may_wait_again_after_ctrl_c_inside_a_callback(cloud: Cloud, launch: Launch) -> None:
    """The event counts as told; what was received behind it comes with the next wait."""
    script = launch(backend=cloud.url, hold="log 2", again=True)
    wait_until_told("log 2")
    script.interrupt()
    assert script.end() == (0, "")
    assert told() == [*TOLD[:3], "interrupted with job_1", *TOLD[3:]]


@pytest.mark.parametrize("again", [False, True])
def test_ctrl_c_while_the_job_is_submitted_waits_for_the_answer(cloud: Cloud, launch: Launch, again: bool) -> None:
    """The interrupt comes after the answer, so that the trainer knows its job: none is left that nobody knows."""
    gate = threading.Event()
    cloud.answer("POST", "/v1/jobs", Late(gate=gate))
    script = launch(backend=cloud.url, again=again)
    eventually(lambda: cloud.jobs, "the job is there")
    script.interrupt()
    assert script.goes_on_for(A_WHILE_S)
    assert not told()
    gate.set()
    code, err = script.end()
    assert told() == (["interrupted with job_1", *TOLD] if again else [])
    assert (code, err.splitlines()[-1:]) == ((0, []) if again else (-signal.SIGINT, ["KeyboardInterrupt"]))
    assert len(cloud.calls("POST", "/v1/jobs")) == 1


def test_a_second_ctrl_c_does_not_wait_for_the_answer(cloud: Cloud, launch: Launch) -> None:
    """A backend that never answers does not keep a user who insists."""
    cloud.answer("POST", "/v1/jobs", Late(gate=threading.Event()))
    script = launch(backend=cloud.url)
    eventually(lambda: cloud.jobs, "the job is there")
    script.interrupt()
    assert script.goes_on_for(A_WHILE_S)
    script.interrupt()
    code, err = script.end(AT_ONCE_S)
    assert code == -signal.SIGINT
    assert err.splitlines()[-1] == "KeyboardInterrupt"


def test_ctrl_c_amid_a_flow_of_events_loses_none(cloud: Cloud, launch: Launch) -> None:
    """Whatever line of arkor it hits, each event is told once by the waits that follow."""
    cloud.plan = [started(), *[log(step) for step in range(1, 1001)], completed()]
    assert launch(INTERRUPTED_SCRIPT, backend=cloud.url, max_steps=1000).end() == (0, "")

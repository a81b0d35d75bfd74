"""The recipes in examples/, each run as its reader would run it, and held to what it is about."""

from __future__ import annotations

import json
import re
import runpy
import signal
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import requests

from arkor import CloudApiClient, LocalDataset, Trainer, TrainingJob, split_questions
from arkor.client.project import ensure_project
from arkor.entry.runner import load_trainer
from arkor.http import abort
from tests.support.auth0 import free_ports
from tests.support.backend import ROOT, BackendProcess
from tests.support.cloud import Cloud
from tests.support.commands import Command, Ended
from tests.support.contract import CHAT, STREAM, Answer, Late, Stream
from tests.support.events import DONE, checkpoint, chunk, completed, failed, frames, log, started
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model
from tests.support.waiting import Waiting

EXAMPLES = ROOT / "examples"
NIGHT = "nightly-2026-01-31"
CANCEL = "/v1/jobs/*/cancel"
LABELS = LocalDataset("data/questions.csv", columns={"question": "prompt", "intent": "completion"})
FAILING = (started(), failed("out of memory"))


@pytest.fixture(autouse=True)
def _as_a_script(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Let a recipe find what lies beside it, and leave nothing of it behind; let watchers leave soon."""
    monkeypatch.syspath_prepend(EXAMPLES)
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)
    sys.modules.pop("tickets", None)


@pytest.fixture(scope="module", autouse=True)
def _heed_interrupts() -> Iterator[None]:
    """Let Ctrl-C reach the scripts also where the tests run in the background, which ignores it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture(scope="module")
def machine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BackendProcess]:
    """A backend of its user's own."""
    made = BackendProcess(tmp_path_factory.mktemp("local"))
    write_tiny_model(made.home / ".arkor" / "models" / "smollm2-135m")
    yield made.start()
    made.close()


@pytest.fixture
def backend(machine: BackendProcess, home: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[BackendProcess]:
    """This user's own backend, which the recipes are pointed at."""
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", "local")
    (home / ".arkor").mkdir()
    (home / ".arkor" / "local").symlink_to(machine.folder)
    yield machine
    behave(machine, None)


def behave(backend: BackendProcess, behaviour: str | None) -> None:
    """Let every job do this, whatever its name; None for what its name says."""
    ordered = backend.home / "behaviour"
    if behaviour is None:
        ordered.unlink(missing_ok=True)
    else:
        ordered.write_text(behaviour)


def start(name: str, *arguments: str) -> Command:
    """Start a recipe in a process of its own."""
    return Command(*arguments, program=[str(EXAMPLES / name)])


def run_here(name: str) -> Any:
    """Run a recipe as a script, in this process; return its exit code."""
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(EXAMPLES / name), run_name="__main__")
    return ended.value.code


def jobs() -> list[TrainingJob]:
    """Return the jobs of this folder's project."""
    client = CloudApiClient.connect()
    try:
        return client.list_jobs(ensure_project(client, Path.cwd()))
    finally:
        client.close()


def hold(cloud: Cloud, *events: Mapping[str, Any]) -> None:
    """Let the next event stream tell these events and then stay open."""
    cloud.stream(Stream(frames=frames([started(), *events]), gate=threading.Event()))


def recipes() -> list[str]:
    """Return the names of all recipes."""
    return sorted(path.name for path in EXAMPLES.glob("*.py") if path.name != "tickets.py")


# All of them


def test_every_recipe_has_a_test_of_its_own_and_a_row_in_the_table() -> None:
    """A file that nobody runs, or that nobody is told of, does not belong there."""
    tests, table = Path(__file__).read_text(), (EXAMPLES / "README.md").read_text()
    for name in recipes():
        assert f'"{name}"' in tests, name
        assert f"| [{name}]({name}) |" in table, name


def test_every_recipe_runs_as_it_is_on_this_machine(
    backend: BackendProcess, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """With ``ARKOR_CLOUD_API_URL=local`` alone, each trains what it says."""
    monkeypatch.setenv("WEBHOOK_URL", "http://127.0.0.1:9/")
    monkeypatch.setattr(sys, "argv", ["recipe"])
    scripts = [name for name in recipes() if name != "web_service.py"]  # which never ends; it is run below
    assert {name: run_here(name) for name in scripts} == dict.fromkeys(scripts, 0)
    trained = {re.sub(r"\d{4}-\d\d-\d\d", "DATE", job.name): job.status for job in jobs()}
    assert trained == dict.fromkeys(
        [
            "abort-then-cancel",
            "ask-checkpoints",
            "ci-step",
            "nightly-DATE",
            "notify-failure",
            "rank-16",
            "rank-4",
            "stop-by-setting",
            "stop-on-ceiling",
            "stop-smoothed",
            "stop-with-patience",
        ],
        "completed",
    )
    said = capsys.readouterr()
    assert "step 5: 1 of 3 right" in said.out  # the scripted model always says: technical
    assert "The best checkpoint is at step 40" in said.out
    assert not said.err


# The labels


def test_the_questions_of_the_labels_are_forty_for_each_intent() -> None:
    """As the library reads them; no question occurs twice, whatever its case and its white space."""
    questions, _ = split_questions(LABELS, eval_fraction=0, project_dir=EXAMPLES / "labels")
    assert set(Counter(one.expected for one in questions).values()) == {40}
    assert len(questions) == 400
    assert len({" ".join(one.messages[0]["content"].casefold().split()) for one in questions}) == 400


def test_the_labels_hold_out_some_questions_of_every_intent(backend: BackendProcess, project: Path) -> None:
    """By the split of the job that its entry starts: 80 of them, 5 or more of each intent."""
    for name in ("src", "data"):
        (project / name).symlink_to(EXAMPLES / "labels" / name)
    load_trainer().wait(check=True)
    split = jobs()[0].config["datasetSplit"]
    _, held_out = split_questions(LABELS, eval_fraction=split["evalFraction"], seed=split["seed"])
    assert len(held_out) == 80
    counts = Counter(one.expected for one in held_out)
    assert len(counts) == 10
    assert min(counts.values()) >= 5


# CI and cron


@pytest.mark.parametrize("smoke", ["1", ""])
def test_a_ci_step_passes_when_its_job_completes(
    arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, smoke: str
) -> None:
    """With ``ARKOR_SMOKE`` the trainer makes a dry run of it; CI sets what is off to an empty text."""
    monkeypatch.setenv("ARKOR_SMOKE", smoke)
    assert run_here("ci_step.py") == 0
    assert arkor_cloud.jobs["job_1"]["config"]["dryRun"] is bool(smoke)


def test_a_ci_step_fails_with_its_job(arkor_cloud: Cloud) -> None:
    """The process exits with 1 and says why."""
    arkor_cloud.plan = list(FAILING)
    assert start("ci_step.py").end() == Ended(1, "Started job job_1\n", "status=failed: out of memory\n")


def test_a_ci_step_that_cannot_find_out_fails_otherwise(arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """A refused token is no failed job."""
    arkor_cloud.answer("GET", STREAM, Answer(status=403, body={"error": "not yours"}))
    assert run_here("ci_step.py") == 3
    assert capsys.readouterr().err == "Error: not yours\n"


def test_a_night_is_trained_once_whatever_kills_it(
    backend: BackendProcess, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A second run of the same night goes on with its job, and keeps its rows."""
    monkeypatch.setenv("RUN_LABEL", NIGHT)
    behave(backend, "slow:12")
    first = start("nightly.py")
    remembered, rows = (project / "nightly" / f"{NIGHT}{suffix}" for suffix in (".running.json", ".jsonl"))
    eventually(lambda: remembered.exists() and json.loads(remembered.read_text()).get("jobId"), "the job is remembered")
    first.process.kill()
    first.process.communicate()
    assert rows.read_bytes() == (EXAMPLES / "triage" / "data" / "tickets.jsonl").read_bytes()
    rows.write_text('{"text": "as they were that night"}\n')
    assert start("nightly.py").end() == Ended(0, "", "")
    (job,) = jobs()
    assert (job.name, job.status) == (NIGHT, "completed")
    assert log_of(project).endswith(f"{NIGHT} Job {job.id} finished with status=completed\n")
    assert rows.read_text() == '{"text": "as they were that night"}\n'
    assert not remembered.exists()


def test_a_night_without_an_adapter_is_a_mail_from_cron(
    backend: BackendProcess, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A failed job is an exit code, a line on stderr, and all of it in the log."""
    monkeypatch.setenv("RUN_LABEL", NIGHT)
    behave(backend, "fail")
    ended = start("nightly.py").end()
    assert (ended.code, ended.out) == (1, "")
    assert re.match(rf"{NIGHT}: Job job_\w+ finished with status=failed: The scripted worker was told to", ended.err)
    assert "Traceback" in log_of(project)


def log_of(project: Path) -> str:
    """Return what a night has logged."""
    return (project / "nightly" / "log").read_text()


# A web service


@pytest.fixture
def service(backend: BackendProcess) -> Iterator[Command]:
    """The web service on a free port; its jobs wait before each step until they are let go on."""
    behave(backend, "gated:3")
    serving = Command("--app", str(EXAMPLES / "web_service.py"), "run", "--port", "0", program=["-m", "flask"])
    yield serving
    serving.process.kill()
    serving.process.communicate()


def url_of(service: Command) -> str:
    """Return where a service listens, once it does."""
    assert service.process.stderr is not None
    for line in service.process.stderr:
        if found := re.search(r"Running on (http://\S+)", line):
            return found[1]
    raise AssertionError("it never listened")


def test_a_route_answers_with_the_id_while_a_thread_waits(backend: BackendProcess, service: Command) -> None:
    """Each request has a job of its own, whose status can be asked for; a stop of the service ends no job."""
    url = url_of(service)
    answers = [requests.post(f"{url}/train", timeout=15) for _ in range(2)]
    assert [answer.status_code for answer in answers] == [202, 202]
    first, second = (answer.json()["job_id"] for answer in answers)
    assert first != second
    assert requests.get(f"{url}/train/job_404", timeout=15).status_code == 404

    def status(job_id: str) -> Any:
        return requests.get(f"{url}/train/{job_id}", timeout=15).json()["status"]

    eventually(lambda: status(first) == "running", "the first job runs")
    assert status(second) == "queued"
    backend.allow(first, 3)
    eventually(lambda: status(first) == "completed", "the first job is over")
    eventually(lambda: status(second) == "running", "the second job runs")
    ended = service.interrupt()
    assert ended.code == 0
    assert f"Job {first} finished with status=completed" in ended.err
    assert "The service stops; what it trains goes on" in ended.err
    left = Trainer.attach(second)
    assert left.start().status == "running"
    left.cancel()


def test_a_route_says_that_no_training_can_be_had_and_not_why(arkor_cloud: Cloud) -> None:
    """Strangers learn nothing of the backend."""
    arkor_cloud.answer("POST", "/v1/jobs", Answer(status=403, body={"error": "your plan has ended"}))
    service = runpy.run_path(str(EXAMPLES / "web_service.py"))
    answer = service["app"].test_client().post("/train")
    assert (answer.status_code, answer.json) == (502, {"error": "No training now"})


# Two trainers


def test_two_trainers_in_sequence(
    arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The second job is submitted when the first has ended."""
    monkeypatch.setattr(sys, "argv", ["two_trainers.py"])
    assert run_here("two_trainers.py") == 0
    made = [item.path for item in arkor_cloud.requests if item.path.startswith("/v1/jobs")]
    assert made == ["/v1/jobs", "/v1/jobs/job_1/events/stream", "/v1/jobs", "/v1/jobs/job_2/events/stream"]
    assert capsys.readouterr().out == (
        "rank-4: job job_1 finished with status=completed\nrank-16: job job_2 finished with status=completed\n"
    )


def test_two_trainers_at_once(arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both are followed while neither has ended."""
    monkeypatch.setattr(sys, "argv", ["two_trainers.py", "--at-once"])
    gate = threading.Event()
    arkor_cloud.answer("GET", STREAM, Late(gate=gate), Late(gate=gate))
    waiting = Waiting(lambda: run_here("two_trainers.py"))
    eventually(lambda: len(arkor_cloud.streams) == 2, "both jobs are followed")
    gate.set()
    assert waiting.outcome(15) == 0


def test_ctrl_c_ends_both_waits_and_no_job(arkor_cloud: Cloud) -> None:
    """The threads of the pool hear of it too."""
    hold(arkor_cloud)
    hold(arkor_cloud)
    script = start("two_trainers.py", "--at-once")
    eventually(lambda: len(arkor_cloud.streams) == 2, "both jobs are followed")
    script.process.send_signal(signal.SIGINT)
    _, err = script.process.communicate(timeout=10)
    assert err.endswith("KeyboardInterrupt\n")
    assert not arkor_cloud.calls("POST", CANCEL)


# Stopping


def test_an_abort_ends_the_wait_and_a_cancel_the_job(backend: BackendProcess) -> None:
    """SIGTERM: after the first step the job still runs, after the second it does not."""
    behave(backend, "slow:600")
    script = start("abort_then_cancel.py")
    assert script.process.stdout is not None
    found = re.fullmatch(r"Started job (job_\w+), process (\d+)\n", script.process.stdout.readline())
    assert found is not None
    job_id = found[1]
    eventually(lambda: Trainer.attach(job_id).start().status == "running", "the job runs")
    assert int(found[2]) == script.process.pid
    script.process.send_signal(signal.SIGTERM)
    ended = script.end()
    assert ended.out == f"Stopped waiting. The job is running\nJob {job_id} finished with status=cancelled\n"
    assert ended.code == 1
    assert Trainer.attach(job_id).start().status == "cancelled"


@pytest.mark.parametrize(("loss", "said"), [(6.5, "6.5"), (float("nan"), "nan"), (float("inf"), "inf")])
def test_a_loss_above_the_ceiling_stops_the_job(
    arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str], loss: float, said: str
) -> None:
    """Not the first ones, not one at the ceiling; one that is no number counts as above."""
    losses = [9.0, 9.0, 9.0, 9.0, 9.0, 2.0, 6.0, loss, 1.0]
    hold(arkor_cloud, *(log(step, value) for step, value in enumerate(losses, 1)))
    assert run_here("stop_on_ceiling.py") == 1
    assert capsys.readouterr().out == f"step 8: the loss is {said}\nStopped job job_1\n"
    assert arkor_cloud.jobs["job_1"]["status"] == "cancelled"


def test_a_smoothed_loss_forgives_one_bad_batch_and_no_trend(
    arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """A single 2.0 among ones goes by; five of 1.3 in a row lift the average too far."""
    losses = [1.0, 1.0, 2.0, 1.0, 1.3, 1.3, 1.3, 1.3, 1.3, 1.3]
    hold(arkor_cloud, *(log(step, value) for step, value in enumerate(losses, 1)))
    assert run_here("stop_smoothed.py") == 1
    assert capsys.readouterr().out == ("step 9: the smoothed loss is 1.254, and was 1.000\nStopped job job_1\n")
    assert arkor_cloud.jobs["job_1"]["status"] == "cancelled"


def test_patience_stops_the_job_and_names_the_best_checkpoint(
    arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """Two evaluations that are no better than the best one; an equal one is no better."""
    evaluated = {5: 2.0, 10: 1.5, 15: 1.6, 20: 1.5, 25: 1.0}
    events = [event for step, loss in evaluated.items() for event in (log(step, evalLoss=loss), checkpoint(step))]
    hold(arkor_cloud, *events)
    assert run_here("stop_with_patience.py") == 0
    assert capsys.readouterr().out == (
        "step 20: no better than at step 10\n"
        "Stopped job job_1\n"
        "The best checkpoint is at step 10; talk to it: arkor chat job_1 --step 10\n"
    )
    assert arkor_cloud.jobs["job_1"]["status"] == "cancelled"


def test_the_backend_stops_early_and_keeps_the_best_adapter(
    arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """The job completes; the settings are those that do it."""
    arkor_cloud.features = {"best-checkpoint"}
    done = completed(bestStep=10, bestEvalLoss=1.5, steps=20, endReason="early_stopping")
    arkor_cloud.stream(Stream(frames=frames([started(), log(10, evalLoss=1.5), done])))
    assert run_here("stop_by_setting.py") == 0
    assert capsys.readouterr().out == (
        "The adapter is that of step 10, with a loss of 1.500\nStopped at step 20: no better evaluation came\n"
    )
    config = arkor_cloud.jobs["job_1"]["config"]
    wanted = {"evalSteps": 5, "loadBestModelAtEnd": True, "earlyStoppingPatience": 2}
    assert {name: config[name] for name in wanted} == wanted


def test_a_job_that_ends_while_it_is_stopped_is_no_error(
    arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]
) -> None:
    """The backend refuses to cancel what is over."""
    hold(arkor_cloud, *(log(step, 9.0) for step in range(1, 8)))
    arkor_cloud.answer("POST", CANCEL, Answer(status=409, body={"error": "The job is completed already"}))
    assert run_here("stop_on_ceiling.py") == 1
    assert capsys.readouterr().out.endswith("Stopped job job_1\n")


# In callbacks


def test_each_checkpoint_is_asked_under_a_schema(arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """Right answers are counted, and one that does not come costs a line, not the wait."""
    arkor_cloud.plan = [started(), checkpoint(5), completed()]
    arkor_cloud.says(
        Stream(frames=[chunk('{"category": '), chunk('"billing"}'), DONE]),
        Answer(status=422, body={"error": "no chats today"}),
        Stream(frames=[chunk('{"category": "returns"}'), DONE]),
    )
    assert run_here("ask_checkpoints.py") == 0
    assert capsys.readouterr().out == "step 5: no answer: no chats today\nstep 5: 1 of 3 right\n"
    body = arkor_cloud.calls("POST", CHAT)[0].json()
    assert body["adapter"] == {"kind": "checkpoint", "jobId": "job_1", "step": 5}
    schema = body["responseFormat" if "responseFormat" in body else "response_format"]["json_schema"]["schema"]
    assert "billing" in schema["properties"]["category"]["enum"]


def test_a_failed_job_is_told_to_the_webhook(arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which job and why; and nothing that would let anybody in."""
    arkor_cloud.plan = list(FAILING)
    arkor_cloud.answer("POST", "/hooks/*", Answer())
    monkeypatch.setenv("WEBHOOK_URL", f"{arkor_cloud.url}/hooks/secret")
    assert run_here("notify_failure.py") == 1
    (told,) = arkor_cloud.calls("POST", "/hooks/secret")
    assert told.json() == {"text": "Training notify-failure (job_1) failed: out of memory"}
    assert "authorization" not in told.headers
    assert "token-1" not in str(told)


@pytest.mark.parametrize("answers", [True, False])
def test_a_webhook_that_is_away_costs_a_line_and_not_the_wait(
    arkor_cloud: Cloud, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], answers: bool
) -> None:
    """The exit code is still the job's, and the webhook's address stays a secret."""
    arkor_cloud.plan = list(FAILING)
    arkor_cloud.answer("POST", "/hooks/*", Answer(status=500))
    url = arkor_cloud.url if answers else f"http://127.0.0.1:{free_ports(1)[0]}"
    monkeypatch.setenv("WEBHOOK_URL", f"{url}/hooks/secret")
    assert run_here("notify_failure.py") == 1
    said = capsys.readouterr()
    assert said.out == "Job job_1 finished with status=failed\n"
    assert said.err == (
        "The webhook refused the message: 500\n" if answers else "The webhook was not reached: ConnectionError\n"
    )


def test_without_a_webhook_nothing_is_started(arkor_cloud: Cloud, capsys: pytest.CaptureFixture[str]) -> None:
    """Better now than after hours of training."""
    assert run_here("notify_failure.py") == 2
    assert "Set WEBHOOK_URL" in capsys.readouterr().err
    assert not arkor_cloud.requests

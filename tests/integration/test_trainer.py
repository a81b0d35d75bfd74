"""The trainer against a stand-in for Arkor Cloud: what it sends, what it calls, and how it ends."""

from __future__ import annotations

import pickle
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from arkor import (
    Aborted,
    AdapterRef,
    AuthenticationError,
    CheckpointSavedEvent,
    CloudApiClient,
    CloudApiError,
    ConfigError,
    Conflict,
    ConnectionFailed,
    DatasetError,
    HuggingFaceDataset,
    LocalDataset,
    LoraConfig,
    NotFound,
    PermissionDenied,
    ReconnectExhausted,
    ReconnectPolicy,
    ServerError,
    StreamError,
    Trainer,
    TrainingCompletedEvent,
    TrainingFailed,
    TrainingLogEvent,
    TrainingStartedEvent,
    UnsupportedByBackend,
    UpgradeRequired,
    WaitTimeout,
    create_trainer,
)
from arkor.client import stream
from arkor.client.project import read_state
from arkor.errors import ArkorError
from arkor.http import abort
from arkor.protocol.config import JobConfig
from arkor.protocol.jobs import Scope
from arkor.protocol.wire import wire_name
from tests.support.cloud import Cloud
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import ADAPTER, END, PING, PLAN, completed, failed, frame, log, started
from tests.support.eventually import eventually
from tests.support.waiting import QUICK, Told, Waiting, make_trainer

TOLD = [("started", None), ("log", 1), ("log", 2), ("checkpoint", 2), ("log", 3), ("completed", None)]


@pytest.fixture(autouse=True)
def _watchers_leave_soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a watcher without work leave after a tenth of a second, so that each test can see it go."""
    monkeypatch.setattr(abort, "WATCH_PERIOD_S", 0.1)


def follow(cloud: Cloud, told: Told | None = None, **settings: Any) -> Trainer:
    """Return a trainer attached to a new job of the stand-in."""
    job = make_trainer(cloud).start()
    callbacks = told.callbacks() if told else None
    return Trainer.attach(job.id, backend=cloud.url, **{"reconnect": QUICK, "callbacks": callbacks, **settings})


# What is sent


def test_a_first_run_introduces_itself_makes_its_project_and_submits_one_job(cloud: Cloud, project: Path) -> None:
    """Each call of the contract is made once, in order, and the project is remembered in the folder."""
    make_trainer(cloud).wait()
    made = [(item.method, item.path) for item in cloud.requests]
    assert made == [
        ("POST", "/v1/auth/anonymous"),
        ("POST", "/v1/projects"),
        ("GET", "/v1/capabilities"),
        ("POST", "/v1/jobs"),
        ("GET", "/v1/jobs/job_1/events/stream"),
    ]
    state = read_state(project, host=f"127.0.0.1_{cloud.port}")
    assert state is not None
    assert (state.org_slug, state.project_slug, state.project_id) == ("anon-1", "my-project", "project_1")


def test_a_second_run_reuses_identity_and_project(cloud: Cloud) -> None:
    """Nothing is asked twice: the second run goes straight to its job."""
    make_trainer(cloud).wait()
    make_trainer(cloud).wait()
    assert len(cloud.calls("POST", "/v1/auth/anonymous")) == 1
    assert len(cloud.calls("POST", "/v1/projects")) == 1
    assert len(cloud.jobs) == 2


def test_every_request_says_which_arkor_it_is_and_the_authenticated_ones_who(cloud: Cloud) -> None:
    """X-Arkor-Client and User-Agent are on every request, the token on all but the one that asks for it."""
    trainer = make_trainer(cloud)
    trainer.wait()
    for item in cloud.requests:
        assert item.headers["x-arkor-client"].startswith("arkor/")
        assert item.headers["user-agent"].startswith("arkor-python/")
    assert "authorization" not in cloud.requests[0].headers
    assert {item.headers["authorization"] for item in cloud.requests[1:]} == {"Bearer token-1"}


def test_only_what_was_given_travels(cloud: Cloud) -> None:
    """The config holds the given settings under their wire names, and no nulls."""
    make_trainer(cloud).start()
    (call,) = cloud.calls("POST", "/v1/jobs")
    assert call.json() == {
        "name": "run",
        "config": {"model": "m", "datasetSource": {"type": "huggingface", "name": "a/b"}},
    }
    assert call.query == {"orgSlug": "anon-1", "projectSlug": "my-project"}


def test_every_setting_travels_under_its_wire_name(cloud: Cloud) -> None:
    """Each setting of the trainer arrives in the config of the contract."""
    trainer = create_trainer(
        name="run",
        model="m",
        dataset={"type": "blob", "url": "https://example.com/rows.jsonl", "token": "secret"},
        backend=cloud.url,
        lora=LoraConfig(r=8, alpha=16, max_length=512, load_in_4bit=False),
        max_steps=1,
        num_train_epochs=0.5,
        learning_rate=1e-4,
        batch_size=2,
        optim="adamw_torch",
        lr_scheduler_type="cosine",
        weight_decay=0.0,
        warmup_steps=0,
        logging_steps=3,
        save_steps=4,
        eval_steps=5,
        train_on_responses_only=True,
        dataset_format="chatml",
        dataset_split={"eval_fraction": 0.1, "seed": 7},
        dry_run=True,
    )
    trainer.start()
    assert cloud.jobs["job_1"]["config"] == {
        "model": "m",
        "datasetSource": {"type": "blob", "url": "https://example.com/rows.jsonl", "token": "secret"},
        "loraR": 8,
        "loraAlpha": 16,
        "maxLength": 512,
        "loadIn4bit": False,
        "maxSteps": 1,
        "numTrainEpochs": 0.5,
        "learningRate": 1e-4,
        "batchSize": 2,
        "optim": "adamw_torch",
        "lrSchedulerType": "cosine",
        "weightDecay": 0.0,
        "warmupSteps": 0,
        "loggingSteps": 3,
        "saveSteps": 4,
        "evalSteps": 5,
        "trainOnResponsesOnly": True,
        "datasetFormat": {"type": "chatml"},
        "datasetSplit": {"evalFraction": 0.1, "seed": 7},
        "dryRun": True,
    }


@pytest.mark.parametrize("value", ["sharegpt", 0.1, False, ["a", {"b": 1}], {"camelCase": 1, "snake_case": 2}])
@pytest.mark.parametrize("setting", ["dataset_format", "dataset_split", "train_on_responses_only"])
def test_what_only_the_cloud_understands_travels_as_it_is(cloud: Cloud, setting: str, value: Any) -> None:
    """Any JSON value of three settings; a backend that does not know it refuses it."""
    make_trainer(cloud, **{setting: value}).start()
    assert cloud.jobs["job_1"]["config"][wire_name(setting)] == value


def test_start_submits_one_job_opens_no_stream_and_calls_nothing(cloud: Cloud) -> None:
    """Start is idempotent, and callbacks belong to wait."""
    told = Told()
    trainer = make_trainer(cloud, told)
    assert trainer.job is None
    assert trainer.start().id == trainer.start().job_id == "job_1"
    assert len(cloud.calls("POST", "/v1/jobs")) == 1
    assert not cloud.streams
    assert not told.names


def test_many_threads_that_start_one_trainer_submit_one_job(cloud: Cloud) -> None:
    """Start is thread-safe: one instance, one job."""
    trainer = make_trainer(cloud)
    starts = [Waiting(trainer.start) for _ in range(8)]
    assert {start.outcome(15).id for start in starts} == {"job_1"}
    assert len(cloud.calls("POST", "/v1/jobs")) == 1


def test_a_submission_whose_answer_is_lost_is_not_repeated_on_the_cloud(cloud: Cloud) -> None:
    """Creating a job is not idempotent there: a repeat could train twice. A later start tries again."""
    cloud.answer("POST", "/v1/jobs", Answer(cut=0))
    trainer = make_trainer(cloud)
    with pytest.raises(ConnectionFailed):
        trainer.start()
    assert len(cloud.calls("POST", "/v1/jobs")) == 1
    assert trainer.start().id == "job_1"


def test_a_submission_whose_answer_is_lost_is_repeated_where_the_backend_knows_the_key(cloud: Cloud) -> None:
    """A backend with idempotent jobs gets the same request again, under the same Idempotency-Key."""
    cloud.features = {"idempotent-jobs"}
    body = {"job": {"id": "job_1", "status": "queued"}}
    cloud.answer("POST", "/v1/jobs", Answer(cut=0), Answer(body=body, cut=100))
    make_trainer(cloud).start()
    keys = [item.headers["idempotency-key"] for item in cloud.calls("POST", "/v1/jobs")]
    assert len(keys) == 3
    assert len({*keys, ""}) == 2


def test_a_refused_submission_says_what_the_backend_said(cloud: Cloud) -> None:
    """The backend's own words reach the user, with the status; the trainer may be started again."""
    cloud.answer("POST", "/v1/jobs", Answer(status=422, body={"error": "model: unknown"}))
    trainer = make_trainer(cloud)
    with pytest.raises(CloudApiError, match="model: unknown") as raised:
        trainer.start()
    assert raised.value.status == 422
    assert trainer.job is None
    assert trainer.start().id == "job_1"


def test_a_file_of_rows_is_refused_before_a_job_where_the_backend_takes_no_uploads(cloud: Cloud, project: Path) -> None:
    """Arkor Cloud has no uploads: the error names the feature, and no job is made."""
    (project / "rows.jsonl").write_text('{"text": "a row"}\n')
    with pytest.raises(UnsupportedByBackend, match="uploading a data set") as raised:
        make_trainer(cloud, dataset=LocalDataset("rows.jsonl")).start()
    assert raised.value.feature == "uploading a data set"
    assert not cloud.calls("POST", "/v1/jobs")


def test_held_out_rows_are_refused_where_the_backend_would_pass_over_them(cloud: Cloud, project: Path) -> None:
    """Before rows are sent: it would train, and never evaluate."""
    cloud.features = {"datasets"}
    (project / "rows.jsonl").write_text('{"text": "a row"}\n')
    for held_out in (LocalDataset("rows.jsonl"), HuggingFaceDataset("a/b", split="test")):
        trainer = make_trainer(cloud, dataset=LocalDataset("rows.jsonl"), eval_dataset=held_out)
        with pytest.raises(UnsupportedByBackend, match="does not support an eval_dataset") as raised:
            trainer.start()
        assert raised.value.capability == "eval-dataset"
    client, config = CloudApiClient.connect(cloud.url), JobConfig(model="m", dataset_source={}, eval_dataset_source={})
    with pytest.raises(UnsupportedByBackend):
        client.create_job(Scope("anon-1", "p"), name="run", config=config, idempotency_key="k")
    client.close()
    assert {item.method for item in cloud.requests if "/v1/jobs" in item.path or "/v1/datasets" in item.path} == set()


def test_columns_are_refused_where_the_backend_would_pass_over_them(cloud: Cloud, project: Path) -> None:
    """Before anything is sent; of a file they are renamed here, so that any backend will do."""
    cloud.features = {"datasets", "eval-dataset"}
    renamed = HuggingFaceDataset("a/b", columns={"q": "text"})
    for name in ("dataset", "eval_dataset"):
        settings: Any = {name: renamed}
        with pytest.raises(UnsupportedByBackend, match="does not support columns of a data set") as raised:
            make_trainer(cloud, **settings).start()
        assert raised.value.capability == "columns"
    assert not cloud.calls("POST", "/v1/jobs")
    cloud.features = {"columns"}
    make_trainer(cloud, dataset=renamed).start()
    source = {"type": "huggingface", "name": "a/b", "columns": {"q": "text"}}
    assert cloud.jobs["job_1"]["config"]["datasetSource"] == source


@pytest.mark.parametrize("setting", [{"load_best_model_at_end": True}, {"early_stopping_patience": 2}])
def test_the_best_evaluation_is_refused_where_the_backend_would_keep_the_last(
    cloud: Cloud, setting: dict[str, Any]
) -> None:
    """Before anything is sent."""
    cloud.features = {"datasets"}
    with pytest.raises(UnsupportedByBackend, match=f"does not support {next(iter(setting))}") as raised:
        make_trainer(cloud, **setting).start()
    assert raised.value.capability == "best-checkpoint"
    assert not cloud.calls("POST", "/v1/jobs")
    cloud.features = {"best-checkpoint"}
    make_trainer(cloud, **setting).start()


def test_several_devices_are_refused_where_the_backend_would_take_one(cloud: Cloud) -> None:
    """Before anything is sent; one device is what every backend takes."""
    cloud.features = {"datasets"}
    with pytest.raises(UnsupportedByBackend, match="does not support devices=2") as raised:
        make_trainer(cloud, devices=2).start()
    assert raised.value.capability == "devices"
    assert not cloud.calls("POST", "/v1/jobs")
    make_trainer(cloud, devices=1).start()
    cloud.features = {"devices"}
    make_trainer(cloud, devices=2).start()
    assert cloud.jobs["job_2"]["config"]["devices"] == 2


def test_held_out_rows_travel_as_a_source_of_their_own(cloud: Cloud) -> None:
    """Whatever a data set can be."""
    cloud.features = {"eval-dataset"}
    make_trainer(cloud, eval_dataset={"type": "blob", "url": "https://example.com/rows.jsonl", "token": "t"}).start()
    assert cloud.jobs["job_1"]["config"] == {
        "model": "m",
        "datasetSource": {"type": "huggingface", "name": "a/b"},
        "evalDatasetSource": {"type": "blob", "url": "https://example.com/rows.jsonl", "token": "t"},
    }


def test_broken_held_out_rows_are_found_before_a_job_is_made(cloud: Cloud, project: Path) -> None:
    """The error names their file."""
    (project / "good.jsonl").write_text('{"text": "good"}\n')
    (project / "bad.jsonl").write_text('{"text": "good"}\n{"text": ""}\n')
    trainer = make_trainer(cloud, dataset=LocalDataset("good.jsonl"), eval_dataset=LocalDataset("bad.jsonl"))
    with pytest.raises(DatasetError, match="row 2: text must not be empty") as raised:
        trainer.start()
    assert raised.value.source == "bad.jsonl"
    assert cloud.requests == []


def test_broken_rows_are_found_before_a_job_is_made(cloud: Cloud, project: Path) -> None:
    """The error names the file and the row; the backend hears of no job."""
    (project / "rows.jsonl").write_text('{"text": "good"}\n{"text": ""}\n')
    with pytest.raises(DatasetError, match="row 2: text must not be empty"):
        make_trainer(cloud, dataset={"type": "local", "path": "rows.jsonl"}).start()
    assert not cloud.calls("POST", "/v1/jobs")


def test_a_missing_file_of_rows_is_named(cloud: Cloud, project: Path) -> None:
    """The error says which file, as given and in full."""
    with pytest.raises(DatasetError, match=str(project / "data" / "rows.jsonl")) as raised:
        make_trainer(cloud, dataset=LocalDataset("data/rows.jsonl")).start()
    assert raised.value.source == "data/rows.jsonl"


# What is called


def test_the_callbacks_are_called_in_order_with_what_they_are_for(cloud: Cloud) -> None:
    """Each context holds its event's figures and the job as it is then."""
    told = Told()
    result = make_trainer(cloud, told).wait()
    assert told.names == TOLD
    contexts = [context for _, context in told.contexts]
    assert [context.job.status for context in contexts] == ["running"] * 5 + ["completed"]
    assert contexts[0].metadata == {"model": "m"}
    assert [context.loss for context in contexts if hasattr(context, "loss")] == [2.5, 1.5, 0.5]
    assert contexts[3].adapter == AdapterRef("checkpoint", "job_1", 2)
    assert [artifact.name for artifact in contexts[5].artifacts] == ["adapter"]
    assert contexts[5].metrics == {"trainLoss": 0.5}
    assert result.status == "completed"
    assert result.artifacts == contexts[5].artifacts
    assert result.job.completed_at


def test_callbacks_run_on_the_thread_that_waits(cloud: Cloud) -> None:
    """No callback is called from a thread the user does not know."""
    threads = set()
    told = Told(lambda name, context: threads.add(threading.get_ident()))
    make_trainer(cloud, told, abort_event=threading.Event()).wait()
    assert threads == {threading.get_ident()}


@pytest.mark.parametrize(
    "manner",
    [{}, {"reset": True}, {"chunked": True}, {"piece": 7}, {"chunked": True, "piece": 13, "reset": True}],
    ids=["closed", "reset", "chunked", "small pieces", "all of it"],
)
def test_across_a_cut_at_any_byte_every_event_arrives_exactly_once(cloud: Cloud, manner: Mapping[str, Any]) -> None:
    """Whatever the connection does, each event reaches its callback once, in order."""
    body = b"".join(frame(number, event) for number, event in enumerate(PLAN, 1)) + END
    for cut in range(0, len(body) + 1, 53):
        told = Told()
        trainer = follow(cloud, told)
        cloud.stream(Stream(cut=cut, **manner), Stream(cut=cut // 2, **manner))
        assert trainer.wait().status == "completed", cut
        assert told.names == TOLD, cut


def test_a_frame_that_was_cut_is_asked_for_again(cloud: Cloud) -> None:
    """An event is remembered when its frame is complete: the next connection goes on after the last whole one."""
    whole = frame(1, started()) + frame(2, log(1))
    cloud.stream(Stream(frames=[whole, frame(3, log(2))], cut=len(whole) + 20))
    make_trainer(cloud).wait()
    assert [item.headers.get("last-event-id") for item in cloud.streams] == [None, "2"]


def test_frames_that_mean_nothing_are_passed_over(cloud: Cloud) -> None:
    """Pings, comments, unknown types, frames that are not JSON or no object call nothing and end nothing."""
    odd = [
        b": hello\n\n",
        PING,
        frame(1, {"type": "training.new"}),
        b"id: 2\ndata: {not json\n\n",
        b"id: 3\ndata: []\n\n",
    ]
    cloud.stream(
        Stream(
            frames=[*odd, frame(4, log(4, evalLoss=None, epoch=True, samplesPerSecond="quick")), frame(5, completed())]
        )
    )
    told = Told()
    make_trainer(cloud, told).wait()
    assert told.names == [("log", 4), ("completed", None)]
    assert told.contexts[0][1].samples_per_second is None


def test_an_id_alone_moves_where_the_stream_goes_on(cloud: Cloud) -> None:
    """A frame with only an id counts for the resumption, though it is no event."""
    cloud.stream(Stream(frames=[frame(1, started()), b"id: 3\n\n"]))
    told = Told()
    make_trainer(cloud, told).wait()
    assert cloud.streams[1].headers["last-event-id"] == "3"
    assert told.names == [TOLD[0], *TOLD[3:]]


def test_an_exception_of_a_callback_ends_the_wait_and_its_event_counts_as_delivered(cloud: Cloud) -> None:
    """The exception itself is raised, there is no reconnect, and the next wait goes on after the event."""

    def fail_once(name: str, context: Any) -> None:
        if told.names[-1] == ("log", 2) and told.names.count(("log", 2)) == 1:
            raise ZeroDivisionError("the user's own")

    told = Told(fail_once)
    trainer = make_trainer(cloud, told)
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        trainer.wait()
    assert len(cloud.streams) == 1
    assert trainer.last_event_id == "3"
    assert trainer.wait().status == "completed"
    assert cloud.streams[1].headers["last-event-id"] == "3"
    assert told.names == TOLD


def test_an_exception_of_the_last_callback_leaves_the_result(cloud: Cloud) -> None:
    """The job has ended: the next wait returns how, without a request and without a second call."""

    def fail(name: str, context: Any) -> None:
        if name == "completed":
            raise ZeroDivisionError

    told = Told(fail)
    trainer = make_trainer(cloud, told)
    with pytest.raises(ZeroDivisionError):
        trainer.wait()
    before = len(cloud.requests)
    assert trainer.wait().status == "completed"
    assert len(cloud.requests) == before
    assert told.names == TOLD


def test_on_event_gets_every_event_before_its_callback_on_the_waiting_thread(cloud: Cloud) -> None:
    """With its id, and in the form in which it travelled."""
    seen: list[Any] = []
    told = Told(lambda name, _: seen.append(name))
    trainer = make_trainer(cloud, told)

    def note(event: Any) -> None:
        assert threading.current_thread() is threading.main_thread()
        seen.append((event.id, event.to_wire()["type"]))

    assert trainer.wait(on_event=note).status == "completed"
    kinds = ["started", "log", "log", "checkpoint", "log", "completed"]
    assert [item for item in seen if isinstance(item, str)] == kinds
    assert [item[0] for item in seen if isinstance(item, tuple)] == ["1", "2", "3", "4", "5", "6"]
    assert all(kind in before[1] for before, kind in zip(seen[::2], seen[1::2], strict=True))


def test_an_exception_of_on_event_ends_the_wait_and_its_event_counts_as_delivered(cloud: Cloud) -> None:
    """As one of a callback does; the callback of that event is not called any more."""

    def fail(event: Any) -> None:
        if event.id == "3":
            raise ZeroDivisionError("the user's own")

    told = Told()
    trainer = make_trainer(cloud, told)
    with pytest.raises(ZeroDivisionError, match="the user's own"):
        trainer.wait(on_event=fail)
    assert trainer.last_event_id == "3"
    assert trainer.wait(on_event=fail).status == "completed"
    assert told.names == [name for name in TOLD if name != ("log", 2)]


def test_on_event_also_gets_an_end_that_no_event_told(cloud: Cloud) -> None:
    """As Arkor Cloud cancels; it has no id, and its fields are those of the job."""
    trainer = make_trainer(cloud)
    trainer.start()
    cloud.settle("cancelled")
    seen: list[Any] = []
    assert trainer.wait(on_event=seen.append).status == "cancelled"
    assert [(event.id, event.to_wire()["type"]) for event in seen] == [(None, "training.cancelled")]


def test_an_on_event_that_cannot_be_called_is_refused_before_the_start(cloud: Cloud) -> None:
    """Nothing is sent."""
    with pytest.raises(ConfigError, match="on_event"):
        make_trainer(cloud).wait(on_event=3)  # type: ignore[arg-type]
    assert cloud.requests == []


# Another one that runs


def test_a_job_of_the_same_name_that_runs_is_found(cloud: Cloud) -> None:
    """The newest that has not ended; the trainer that comes back follows it, and calls nobody."""
    for number, (name, status) in enumerate(
        [("run", "running"), ("run", "queued"), ("run", "failed"), ("it", "queued")]
    ):
        job_id = make_trainer(cloud, name=name).start().id
        cloud.jobs[job_id].update(status=status, createdAt=f"2026-01-0{number + 1}T00:00:00.000Z")
    told = Told()
    trainer = make_trainer(cloud, told)
    found = trainer.find_running()
    assert found is not None
    assert found.job is not None
    assert (found.job.id, found.was_sent) == ("job_2", False)
    assert found.wait().status == "completed"
    assert told.names == []
    assert len(cloud.calls("POST", "/v1/jobs")) == 4


def test_looking_for_one_that_runs_makes_nothing(cloud: Cloud) -> None:
    """No project, no job; the same trainer can be started then."""
    trainer = make_trainer(cloud)
    assert trainer.find_running() is None
    assert not cloud.calls("POST", "/v1/projects")
    assert trainer.start().id == "job_1"
    assert trainer.find_running() is not None  # its own


def test_a_keyboard_interrupt_leaves_a_trainer_that_can_wait_again(cloud: Cloud) -> None:
    """Ctrl-C ends the wait, not the job."""

    def interrupt_once(name: str, context: Any) -> None:
        if told.names == TOLD[:2]:
            raise KeyboardInterrupt

    told = Told(interrupt_once)
    trainer = make_trainer(cloud, told)
    with pytest.raises(KeyboardInterrupt):
        trainer.wait()
    assert trainer.wait().status == "completed"
    assert told.names == TOLD


def test_wait_inside_a_callback_is_refused(cloud: Cloud) -> None:
    """It could never end: it says so."""
    trainer = make_trainer(cloud, Told(lambda name, context: trainer.wait()))
    with pytest.raises(RuntimeError, match="inside a callback"):
        trainer.wait()


def test_cancel_and_start_work_inside_a_callback(cloud: Cloud) -> None:
    """Early stopping: a callback may cancel its own job."""

    def stop(name: str, context: Any) -> None:
        if name == "started":
            assert trainer.start().id == "job_1"
            trainer.cancel()

    cloud.stream(Stream(frames=[frame(1, started()), END]))
    trainer = make_trainer(cloud, Told(stop))
    assert trainer.wait().status == "cancelled"


# How it ends


def test_a_finished_trainer_returns_its_result_without_a_request(cloud: Cloud) -> None:
    """The same object each time."""
    trainer = make_trainer(cloud)
    result = trainer.wait()
    before = len(cloud.requests)
    assert trainer.wait() is result
    assert list(trainer.events()) == []
    assert len(cloud.requests) == before


def test_a_result_fetches_the_history_of_its_figures(cloud: Cloud) -> None:
    """Each log event as it came; a pickled result has no connection to do so."""
    result = make_trainer(cloud).wait()
    figures = result.metrics()
    assert [(entry.step, entry.loss) for entry in figures] == [(1, 2.5), (2, 1.5), (3, 0.5)]
    with pytest.raises(ArkorError, match=r"CloudApiClient\.job_metrics"):
        pickle.loads(pickle.dumps(result)).metrics()


def test_a_failed_job_returns_and_raises_only_when_asked(cloud: Cloud) -> None:
    """A naive try/except around wait() sees no exception; raise_for_status() and check=True do."""
    cloud.plan = [started(), failed("out of memory")]
    told = Told()
    trainer = make_trainer(cloud, told)
    result = trainer.wait()
    assert (result.status, result.job.error) == ("failed", "out of memory")
    assert told.contexts[-1][1].error == "out of memory"
    with pytest.raises(TrainingFailed, match="Job job_1 finished with status=failed: out of memory") as raised:
        result.raise_for_status()
    assert raised.value.result is result
    with pytest.raises(TrainingFailed):
        trainer.wait(check=True)


def test_check_is_silent_about_a_completed_job(cloud: Cloud) -> None:
    """wait(check=True) returns what wait() returns."""
    assert make_trainer(cloud).wait(check=True).status == "completed"


@pytest.mark.parametrize(
    ("status", "error", "called"),
    [("completed", None, [("completed", None)]), ("failed", "boom", [("failed", None)]), ("cancelled", None, [])],
)
def test_an_end_that_no_event_told_is_asked_for(
    cloud: Cloud, status: str, error: str | None, called: list[tuple[str, None]]
) -> None:
    """The stream is closed for good: the job's true status is read, and its callback called once."""
    told = Told()
    trainer = make_trainer(cloud, told)
    trainer.start()
    cloud.settle(status, error)
    cloud.stream(Stream(frames=[END]))
    result = trainer.wait()
    assert (result.status, result.job.error) == (status, error)
    assert told.names == called
    assert len(cloud.calls("GET", "/v1/jobs/*")) == 1


def test_a_verdict_that_is_written_a_little_later_is_waited_for(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The cloud may close the stream before it has written the status."""
    monkeypatch.setattr("arkor.trainer.follow.VERDICT_PAUSE_S", 0.01)
    job = {"job": {"id": "job_1", "status": "running"}}
    cloud.answer("GET", "/v1/jobs/*", Answer(body=job), Answer(body=job))
    cloud.stream(Stream(frames=[END]))
    trainer = make_trainer(cloud)
    trainer.start()
    cloud.settle("completed")
    assert trainer.wait().status == "completed"
    assert len(cloud.calls("GET", "/v1/jobs/*")) == 3


def test_the_verdict_is_asked_for_until_the_backend_answers(cloud: Cloud) -> None:
    """A backend that restarts in between does not end the wait."""
    cloud.answer("GET", "/v1/jobs/*", *[Answer(status=502, headers={"Retry-After": "0"})] * 4)  # a call has three tries
    cloud.stream(Stream(frames=[END]))
    trainer = make_trainer(cloud)
    trainer.start()
    cloud.settle("completed")
    assert trainer.wait().status == "completed"


def test_a_stream_that_is_closed_on_a_running_job_is_an_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A backend that contradicts itself is told as such, not waited for without end."""
    monkeypatch.setattr("arkor.trainer.follow.VERDICT_PAUSE_S", 0.01)
    cloud.plan = [started()]
    with pytest.raises(StreamError, match="job_1, which is still running"):
        make_trainer(cloud).wait()


def test_a_stream_that_only_ever_ends_does_not_hide_a_finished_job(cloud: Cloud) -> None:
    """A cancelled job on the cloud: its stream ends without a word. After three such ends the job is asked for."""
    trainer = make_trainer(cloud)
    trainer.start()
    cloud.settle("cancelled")
    cloud.stream(*[Stream(frames=[])] * 9)
    assert trainer.wait().status == "cancelled"
    assert len(cloud.streams) == 3


def test_the_job_is_asked_before_giving_up_on_empty_streams(cloud: Cloud) -> None:
    """A policy that bears no failure still learns how the job ended."""
    trainer = make_trainer(cloud, reconnect=ReconnectPolicy(max_attempts=0))
    trainer.start()
    cloud.settle("cancelled")
    cloud.stream(Stream(frames=[]))
    assert trainer.wait().status == "cancelled"


@pytest.mark.parametrize(
    "lost", [Stream(frames=[]), Stream(cut=0, reset=True), Answer(status=404), Answer(status=429), Answer(cut=0)]
)
def test_a_job_that_ended_while_its_stream_was_lost_is_still_told_in_full(cloud: Cloud, lost: Answer | Stream) -> None:
    """The job's own word that it is over is not taken while its events can still be had."""
    told = Told()
    trainer = make_trainer(cloud, told)
    trainer.start()
    cloud.settle("completed")
    if isinstance(lost, Stream):
        cloud.stream(lost, lost)
    else:
        cloud.answer("GET", STREAM, lost, lost)
    assert trainer.wait().artifacts[0].name == "adapter"
    assert told.names == TOLD


def test_cancel_before_start_does_nothing(cloud: Cloud) -> None:
    """There is no job: nothing is asked."""
    make_trainer(cloud).cancel()
    assert cloud.requests == []


def test_a_cancelled_job_calls_no_callback_and_is_not_a_success(cloud: Cloud) -> None:
    """The cloud sends no event for it: the stream ends, and the job says cancelled."""
    told = Told()
    trainer = make_trainer(cloud, told)
    trainer.start()
    trainer.cancel()
    result = trainer.wait()
    assert result.status == "cancelled"
    assert told.names == []
    with pytest.raises(TrainingFailed, match="status=cancelled"):
        result.raise_for_status()


def test_cancel_always_asks_and_ignores_the_abort_event(cloud: Cloud) -> None:
    """It never short-circuits: a finished job's refusal is the caller's to handle."""
    abort_event = threading.Event()
    trainer = make_trainer(cloud, abort_event=abort_event)
    trainer.wait()
    abort_event.set()
    for _ in range(2):
        with pytest.raises(Conflict, match="completed already"):
            trainer.cancel()
    assert len(cloud.calls("POST", "/v1/jobs/*/cancel")) == 2


# Reconnecting


def test_too_many_failures_in_a_row_end_the_wait_with_the_last_as_cause(cloud: Cloud) -> None:
    """A limit of 2 bears two failures; the third ends it, and the trainer may wait again."""
    cloud.answer("GET", STREAM, *[Answer(status=500, body={"error": f"down {number}"}) for number in (1, 2, 3)])
    trainer = make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=2))
    with pytest.raises(ReconnectExhausted) as raised:
        trainer.wait()
    assert str(raised.value) == "Trainer SSE stream failed 3 consecutive times; giving up."
    assert raised.value.attempts == 3
    assert isinstance(raised.value.__cause__, ServerError)
    assert str(raised.value.__cause__) == "down 3"
    assert len(cloud.streams) == 3
    assert trainer.wait().status == "completed"


def test_progress_forgives_the_failures_before_it(cloud: Cloud) -> None:
    """Only failures in a row count, and a clean end after progress costs nothing."""
    down = Answer(status=500, body={"error": "down"})
    cloud.answer("GET", STREAM, down)
    cloud.stream(Stream(frames=[frame(1, started())]), Stream(frames=[frame(2, log(1))]))
    cloud.answer("GET", STREAM, down)
    result = make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=1)).wait()
    assert result.status == "completed"
    assert len(cloud.streams) == 5


def test_a_stream_of_pings_that_ends_is_a_failure(cloud: Cloud) -> None:
    """Pings are not progress: a stream that only pings and ends counts as failed."""
    cloud.stream(*[Stream(frames=[PING, PING])] * 2)
    with pytest.raises(ReconnectExhausted) as raised:
        make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=1)).wait()
    assert isinstance(raised.value.__cause__, StreamError)


@pytest.mark.parametrize(
    ("status", "error"),
    [(401, AuthenticationError), (403, PermissionDenied), (410, CloudApiError), (426, UpgradeRequired)],
)
def test_some_statuses_end_the_wait_at_once(cloud: Cloud, status: int, error: type[CloudApiError]) -> None:
    """Another attempt could not help."""
    cloud.answer("GET", STREAM, Answer(status=status, body={"error": "no"}))
    with pytest.raises(error) as raised:
        make_trainer(cloud).wait()
    assert raised.value.status == status
    assert len(cloud.streams) == 1


@pytest.mark.parametrize("status", [404, 408, 418, 429, 500, 502, 503])
def test_other_statuses_are_tried_again(cloud: Cloud, status: int) -> None:
    """They may pass: a job that is not visible yet, a backend that is busy or restarts."""
    cloud.answer("GET", STREAM, *[Answer(status=status, headers={"Retry-After": "0"})] * 2)
    assert make_trainer(cloud).wait().status == "completed"
    assert len(cloud.streams) == 3


def test_a_refusal_that_lasts_is_an_error(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """A job that stays invisible, also when it is asked for, ends the wait with the backend's own words."""
    monkeypatch.setattr(stream, "BOUNDED_RETRY_S", 0.05)
    cloud.answer("GET", STREAM, *[Answer(status=404, body={"error": "no such stream"})] * 100)
    cloud.answer("GET", "/v1/jobs/*", *[Answer(status=404)] * 100)
    with pytest.raises(NotFound, match="no such stream"):
        make_trainer(cloud).wait()
    assert len(cloud.streams) > 1


def test_a_stream_that_stays_refused_does_not_hide_a_finished_job(
    cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After the time for refusals the job is asked for, and its verdict ends the wait."""
    monkeypatch.setattr(stream, "BOUNDED_RETRY_S", 0.05)
    told = Told()
    trainer = make_trainer(cloud, told)
    trainer.start()
    cloud.settle("failed", "boom")
    cloud.answer("GET", STREAM, *[Answer(status=404, body={"error": "gone"})] * 100)
    assert trainer.wait().job.error == "boom"
    assert told.names == [("failed", None)]


def test_something_that_is_no_event_stream_is_a_failure(cloud: Cloud) -> None:
    """A proxy's login page, say: it is tried again, and named when that goes on."""
    page = Answer(body=b"<html>", headers={"Content-Type": "text/html"})
    cloud.answer("GET", STREAM, page, page)
    with pytest.raises(ReconnectExhausted) as raised:
        make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=1)).wait()
    assert "text/html in place of a plain event stream" in str(raised.value.__cause__)


def test_retry_after_is_respected_up_to_the_maximum(cloud: Cloud) -> None:
    """The backend asks for an hour; the policy allows a hundredth of a second."""
    cloud.answer("GET", STREAM, Answer(status=503, headers={"Retry-After": "3600"}))
    assert Waiting(make_trainer(cloud).wait).outcome().status == "completed"


def test_retry_after_beats_the_policys_own_delay(cloud: Cloud) -> None:
    """The backend says that it is back at once; the policy alone would wait half a minute."""
    cloud.answer("GET", STREAM, Answer(status=429, headers={"Retry-After": "0"}))
    trainer = make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=30))
    assert Waiting(trainer.wait).outcome().status == "completed"


def test_the_servers_retry_field_sets_the_base_delay(cloud: Cloud) -> None:
    """``retry:`` of the event stream's specification is honoured."""
    cloud.stream(Stream(frames=[b"retry: 1\n" + frame(1, started())]))
    trainer = make_trainer(cloud, reconnect=ReconnectPolicy(base_delay=30))
    assert Waiting(trainer.wait).outcome().status == "completed"


def test_a_backend_that_is_away_for_a_while_is_waited_for(cloud: Cloud) -> None:
    """Nobody listens for some attempts; the events come afterwards, each once."""
    told = Told()
    trainer = follow(cloud, told)
    with cloud.away():
        waiting = Waiting(trainer.wait)
        with pytest.raises(AssertionError, match="still waiting"):
            waiting.outcome(0.3)
    assert waiting.outcome(15).status == "completed"
    assert told.names == TOLD


def test_silence_is_a_dead_connection(cloud: Cloud) -> None:
    """Without even a ping for the idle timeout, the stream is opened again."""
    cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    told = Told()
    trainer = make_trainer(cloud, told, reconnect=ReconnectPolicy(base_delay=0.01, idle_timeout=0.2))
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


def test_time_inside_a_callback_is_not_silence(cloud: Cloud) -> None:
    """A callback that works for longer than the idle timeout does not lose the connection."""
    told = Told(lambda name, context: threading.Event().wait(1.5) if name == "started" else None)
    make_trainer(cloud, told, reconnect=ReconnectPolicy(base_delay=0.01, idle_timeout=1)).wait()
    assert len(cloud.streams) == 1


def test_a_frame_over_the_size_limit_is_an_error_that_says_so(cloud: Cloud) -> None:
    """It is not read any further, and not asked for again."""
    cloud.stream(Stream(frames=[b"data: ", b"x" * (17 * 2**20)]))
    with pytest.raises(StreamError, match="more than 16777216 bytes"):
        make_trainer(cloud).wait()
    assert len(cloud.streams) == 1


# Abort and timeout


def test_an_abort_event_that_is_set_already_costs_no_request(cloud: Cloud) -> None:
    """Nothing is sent, nothing is started."""
    abort_event = threading.Event()
    abort_event.set()
    trainer = make_trainer(cloud, abort_event=abort_event)
    with pytest.raises(Aborted):
        trainer.wait()
    assert cloud.requests == []
    assert trainer.job is None


def _held_before_headers(cloud: Cloud) -> None:
    cloud.answer("GET", STREAM, Answer(gate=threading.Event()))


def _held_while_reading(cloud: Cloud) -> None:
    cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))


def _held_in_a_chunk(cloud: Cloud) -> None:
    cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event(), chunked=True))


def _held_in_back_off(cloud: Cloud) -> None:
    cloud.answer("GET", STREAM, Answer(status=503, headers={"Retry-After": "60"}))


def _held_while_asking_after_empty_streams(cloud: Cloud) -> None:
    cloud.stream(*[Stream(frames=[b"retry: 1\n\n"])] * 3)
    cloud.answer("GET", "/v1/jobs/*", Answer(gate=threading.Event()))


def _held_while_asking_again(cloud: Cloud) -> None:
    cloud.stream(Stream(frames=[END]))
    cloud.answer("GET", "/v1/jobs/*", Answer(status=503, headers={"Retry-After": "60"}))


def _held_while_asking_for_the_verdict(cloud: Cloud) -> None:
    cloud.stream(Stream(frames=[END]))
    cloud.answer("GET", "/v1/jobs/*", Answer(gate=threading.Event()))


HOLDS = [
    (_held_before_headers, STREAM),
    (_held_while_reading, STREAM),
    (_held_in_a_chunk, STREAM),
    (_held_in_back_off, STREAM),
    (_held_while_asking_after_empty_streams, "/v1/jobs/*"),
    (_held_while_asking_again, "/v1/jobs/*"),
    (_held_while_asking_for_the_verdict, "/v1/jobs/*"),
]


@pytest.mark.parametrize(("hold", "path"), HOLDS, ids=[hold.__name__.strip("_") for hold, _ in HOLDS])
def test_an_abort_is_felt_at_once(cloud: Cloud, hold: Callable[[Cloud], None], path: str) -> None:
    """Wherever the wait is blocked, it ends at once; the job goes on, and a later wait follows it to its end."""
    abort_event, told = threading.Event(), Told()
    trainer = make_trainer(cloud, told, abort_event=abort_event, reconnect=ReconnectPolicy(base_delay=60))
    hold(cloud)
    waiting = Waiting(trainer.wait)
    eventually(lambda: cloud.calls("GET", path), "the wait is blocked")
    abort_event.set()
    assert isinstance(waiting.outcome(), Aborted)
    assert not cloud.calls("POST", "/v1/jobs/*/cancel")
    abort_event.clear()
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


@pytest.mark.parametrize(("hold", "path"), HOLDS, ids=[hold.__name__.strip("_") for hold, _ in HOLDS])
def test_a_timeout_ends_the_wait_wherever_it_is_blocked(cloud: Cloud, hold: Callable[[Cloud], None], path: str) -> None:
    """WaitTimeout, which is a TimeoutError too; the job goes on, and a later wait follows it to its end."""
    told = Told()
    trainer = make_trainer(cloud, told, reconnect=ReconnectPolicy(base_delay=60))
    trainer.start()
    hold(cloud)
    outcome = Waiting(lambda: trainer.wait(timeout=1)).outcome()
    assert isinstance(outcome, WaitTimeout)
    assert isinstance(outcome, TimeoutError)
    assert cloud.calls("GET", path)
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


def test_an_abort_from_a_callback_stops_before_the_next_event(cloud: Cloud) -> None:
    """The event in flight counts as delivered; what was received behind it comes with the next wait."""
    abort_event = threading.Event()
    told = Told(lambda name, context: abort_event.set() if name == "log" and context.step == 1 else None)
    trainer = make_trainer(cloud, told, abort_event=abort_event)
    with pytest.raises(Aborted):
        trainer.wait()
    assert told.names == TOLD[:2]
    assert trainer.last_event_id == "2"
    abort_event.clear()
    assert trainer.wait().status == "completed"
    assert told.names == TOLD


def test_an_abort_while_the_job_is_submitted_leaves_no_orphan(cloud: Cloud) -> None:
    """The answer to the submission is waited for: the trainer knows its job."""
    abort_event, gate = threading.Event(), threading.Event()
    job = {"job": {"id": "job_7", "status": "queued"}}
    cloud.answer("POST", "/v1/jobs", Answer(status=201, body=job, gate=gate))
    trainer = make_trainer(cloud, abort_event=abort_event)
    waiting = Waiting(trainer.wait)
    eventually(lambda: cloud.calls("POST", "/v1/jobs"), "the job is being submitted")
    abort_event.set()
    gate.set()
    assert isinstance(waiting.outcome(), Aborted)
    assert trainer.job is not None
    assert trainer.job.id == "job_7"
    assert not cloud.streams


def test_two_threads_in_wait_share_one_stream_and_one_result(cloud: Cloud) -> None:
    """Each event is told once, and both get the same result."""
    told, gate = Told(), threading.Event()
    cloud.stream(Stream(gate=gate, frames=[frame(1, started())]))
    trainer = make_trainer(cloud, told)
    waits = [Waiting(trainer.wait) for _ in range(2)]
    eventually(lambda: told.names, "the stream is read")
    gate.set()
    first, second = (waiting.outcome(15) for waiting in waits)
    assert first is second
    assert told.names == TOLD
    assert len(cloud.jobs) == 1


def test_a_second_thread_keeps_its_own_timeout(cloud: Cloud) -> None:
    """It does not wait longer than it wants because another thread has the stream."""
    gate = threading.Event()
    cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    trainer = make_trainer(cloud)
    waiting = Waiting(trainer.wait)
    eventually(lambda: trainer.last_event_id, "the first thread has the stream")
    assert isinstance(Waiting(lambda: trainer.wait(timeout=0.05)).outcome(), WaitTimeout)
    gate.set()
    assert waiting.outcome(15).status == "completed"


def test_events_are_typed_and_call_no_callback(cloud: Cloud) -> None:
    """The same stream as a loop."""
    told = Told()
    trainer = make_trainer(cloud, told)
    seen = [type(event) for event in trainer.events()]
    assert seen == [
        TrainingStartedEvent,
        TrainingLogEvent,
        TrainingLogEvent,
        CheckpointSavedEvent,
        TrainingLogEvent,
        TrainingCompletedEvent,
    ]
    assert told.names == []
    assert trainer.wait().status == "completed"


def test_a_loop_that_is_left_early_can_be_gone_on_with(cloud: Cloud) -> None:
    """Wait goes on after the last event that the loop took."""
    told = Told()
    trainer = make_trainer(cloud, told)
    for event in trainer.events():
        if isinstance(event, TrainingLogEvent):
            break
    trainer.wait()
    assert told.names == TOLD[2:]


def test_attach_follows_a_job_from_its_first_event(cloud: Cloud) -> None:
    """A job that another process started is told from the start."""
    told = Told()
    assert follow(cloud, told).wait().status == "completed"
    assert told.names == TOLD
    assert "last-event-id" not in cloud.streams[0].headers


def test_attach_after_an_event_goes_on_behind_it(cloud: Cloud) -> None:
    """What was told already is not told again."""
    told = Told()
    follow(cloud, told, after="3").wait()
    assert cloud.streams[0].headers["last-event-id"] == "3"
    assert told.names == TOLD[3:]


def test_attach_to_a_job_that_does_not_exist_says_so(cloud: Cloud) -> None:
    """The backend's own words, and no stream."""
    make_trainer(cloud).start()
    with pytest.raises(NotFound, match="No such job"):
        Trainer.attach("job_404", backend=cloud.url).wait()
    assert not cloud.streams


@pytest.mark.parametrize("after", ["a\rb", "a\nb", "a\0b", "\ud800", 7])
def test_attach_after_what_no_event_can_be_called_is_refused(cloud: Cloud, after: Any) -> None:
    """No header could say it."""
    with pytest.raises(ConfigError, match="after: must be the id of an event"):
        Trainer.attach("job_1", after=after, backend=cloud.url)


def test_an_attached_job_can_be_cancelled_without_following_it(cloud: Cloud) -> None:
    """One request: the cancellation."""
    trainer = follow(cloud)
    before = len(cloud.requests)
    trainer.cancel()
    assert [item.path for item in cloud.requests[before:]] == ["/v1/jobs/job_1/cancel"]


def test_ids_are_encoded_in_paths(cloud: Cloud) -> None:
    """An id from elsewhere cannot reach another call."""
    make_trainer(cloud).start()
    with pytest.raises(ArkorError):
        Trainer.attach("../me?x=1", backend=cloud.url).start()
    assert cloud.requests[-1].path == "/v1/jobs/..%2Fme%3Fx%3D1"


def test_configure_changes_what_is_sent_and_comes_too_late_after_start(cloud: Cloud) -> None:
    """``arkor start --dry-run`` reaches the job's config through it."""
    trainer = make_trainer(cloud)
    trainer.configure(dry_run=True)
    trainer.start()
    assert cloud.calls("POST", "/v1/jobs")[0].json()["config"]["dryRun"] is True
    with pytest.raises(RuntimeError, match="too late"):
        trainer.configure(dry_run=False)


def test_events_are_told_as_they_come(cloud: Cloud) -> None:
    """They are not held back until the stream ends or a buffer is full."""
    gate = threading.Event()
    cloud.stream(Stream(frames=[frame(1, started()), frame(2, log(1, 2.5))], gate=gate))
    told = Told()
    waiting = Waiting(make_trainer(cloud, told).wait)
    eventually(lambda: told.names == TOLD[:2], "both events are told while the stream is open")
    gate.set()
    assert waiting.outcome(15).artifacts[0].name == ADAPTER["name"]
    assert told.names == TOLD

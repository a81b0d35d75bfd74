"""The command line as its users meet it: real processes, their output and their exit codes."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from arkor.version import __version__
from tests.support.cloud import Cloud
from tests.support.commands import Command, run
from tests.support.contract import STREAM, Answer, Stream
from tests.support.events import failed, frame, started
from tests.support.eventually import eventually

TIMEOUT_S = 30.0
ENTRY = """\
from arkor import ReconnectPolicy, create_trainer

trainer = create_trainer(name={name!r}, model="m", dataset={dataset!r}, reconnect=ReconnectPolicy(max_attempts=0){more})
"""
NO_HOME = """\
import os
import pwd

from arkor.cli import main


def unknown(_):
    raise KeyError


pwd.getpwuid = unknown
del os.environ["HOME"]
main()
"""
NO_TRAINER = (
    "Error: Training entry must export 'arkor' (from create_arkor(...)) or 'trainer' (from create_trainer(...)), "
    "or a 'default' that is one of them."
)


def write_entry(
    path: str = "src/arkor/index.py",
    *,
    name: str = "run",
    dataset: object = {"type": "huggingface", "name": "a/b"},
    more: str = "",
) -> Path:
    """Write a source entry with a trainer."""
    file = Path(path)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(ENTRY.format(name=name, dataset=dataset, more=more and f", {more}"))
    return file.absolute()


def names(cloud: Cloud) -> list[str]:
    """The names of the jobs that were submitted, in order."""
    return [str(job["name"]) for job in cloud.jobs.values()]


# Help


def test_the_help_lists_every_command_under_a_heading_and_the_exit_codes() -> None:
    """On one page of a terminal."""
    ended = run("--help")
    assert re.findall(r"^(\w.*):$", ended.out, re.MULTILINE) == [
        "Options",
        "Project",
        "Jobs",
        "Models and data",
        "Account and servers",
    ]
    assert len(ended.out.splitlines()) < 50
    for name in ("attach", "build", "cancel", "models", "serve", "start", "0    completed", "130  interrupted"):
        assert name in ended.out


def test_the_version_is_told() -> None:
    """``arkor --version``."""
    assert __version__ in run("--version").out


@pytest.mark.parametrize("arguments", [("nosuch",), ("start", "--nosuch"), ("cancel",)])
def test_wrong_usage_exits_2_and_says_how_it_is_right(arguments: tuple[str, ...]) -> None:
    """Usage errors are input errors."""
    ended = run(*arguments)
    assert ended.code == 2
    assert "Usage: arkor" in ended.err


# build


def test_build_bundles_the_default_entry() -> None:
    """It says which file it made."""
    write_entry()
    ended = run("build")
    assert (ended.code, ended.out) == (0, "Built .arkor/build/index.pyz\n")
    assert Path(".arkor/build/index.pyz").is_file()


def test_build_without_an_entry_says_how_to_get_one(project: Path) -> None:
    """The message of the documentation, with the whole path, and nothing half done."""
    ended = run("build")
    assert ended.code == 2
    assert ended.err == (
        f"Error: Build entry not found: {project}/src/arkor/index.py. "
        "Create src/arkor/index.py or pass an explicit entry argument. "
        "To set up a new project here, run: arkor init\n"
    )
    assert not Path(".arkor").exists()


def test_build_names_file_and_line_of_what_does_not_parse() -> None:
    """One line, and the last artifact stays."""
    file = write_entry()
    run("build")
    before = Path(".arkor/build/index.pyz").read_bytes()
    file.write_text("x = 1\nif\n")
    ended = run("build")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: {file}:2: does not parse: ")
    assert ended.err.count("\n") == 1
    assert Path(".arkor/build/index.pyz").read_bytes() == before


# start: which sources run


def test_start_builds_where_there_is_no_artifact(arkor_cloud: Cloud) -> None:
    """Row two of the table: artifact missing, no entry."""
    write_entry(name="first")
    ended = run("start")
    assert ended.code == 0
    first, *_, last = ended.out.splitlines()
    assert (first, last) == ("Started job job_1", "Job job_1 finished with status=completed")
    assert names(arkor_cloud) == ["first"]
    assert Path(".arkor/build/index.pyz").is_file()


def test_start_runs_an_artifact_as_it_is(arkor_cloud: Cloud) -> None:
    """Row three of the table: what was edited since the build does not run."""
    write_entry(name="built")
    run("build")
    write_entry(name="edited")
    assert run("start").code == 0
    assert names(arkor_cloud) == ["built"]


def test_start_with_an_entry_builds_it_first(arkor_cloud: Cloud) -> None:
    """Row one of the table: the entry replaces the artifact, and runs."""
    write_entry(name="old")
    run("build")
    write_entry("src/arkor/experiment.py", name="experiment")
    assert run("start", "src/arkor/experiment.py").code == 0
    assert run("start").code == 0
    assert names(arkor_cloud) == ["experiment", "experiment"]


def test_the_artifact_runs_by_itself(arkor_cloud: Cloud) -> None:
    """``python .arkor/build/index.pyz --dry-run`` is ``arkor start`` on it."""
    write_entry()
    run("build")
    ended = Command("--dry-run", program=(".arkor/build/index.pyz",)).end()
    assert ended.code == 0
    assert arkor_cloud.jobs["job_1"]["config"]["dryRun"] is True


def test_start_with_a_missing_entry_is_a_build_error(arkor_cloud: Cloud, project: Path) -> None:
    """A bad path surfaces in the build, before anything is sent."""
    ended = run("start", "nosuch.py")
    assert ended.code == 2
    assert f"Build entry not found: {project}/nosuch.py." in ended.err
    assert arkor_cloud.requests == []


def test_dry_run_reaches_the_jobs_config(arkor_cloud: Cloud) -> None:
    """``arkor start --dry-run``."""
    write_entry()
    assert run("start", "--dry-run").code == 0
    assert arkor_cloud.jobs["job_1"]["config"]["dryRun"] is True


def test_the_output_of_callbacks_comes_between_start_and_end(arkor_cloud: Cloud) -> None:
    """Each right after the command's own line of the event."""
    write_entry(more='callbacks={"on_log": lambda log: print("called", log.step)}')
    assert run("start").out.splitlines()[2:6] == ["step 1  loss 2.5000", "called 1", "step 2  loss 1.5000", "called 2"]


def test_start_builds_again_what_it_built_by_itself(arkor_cloud: Cloud) -> None:
    """After an edit the edit runs, and a line on stderr says which source changed."""
    index = write_entry(name="first")
    assert run("start").err == ""
    assert run("start").err == ""
    write_entry(name="edited")
    assert run("start").err == "Rebuilt: src/arkor/index.py changed\n"
    index.write_text(f"from . import rows, settings\n{index.read_text()}")
    for name in ("rows", "settings"):
        index.with_name(f"{name}.py").write_text("")
    ended = run("start", "--json")
    assert (ended.code, ended.err.splitlines()[0]) == (0, "Rebuilt: src/arkor/index.py and 2 more changed")
    assert names(arkor_cloud) == ["first", "first", "edited", "edited"]


def test_start_with_an_entry_pins_it(arkor_cloud: Cloud) -> None:
    """A start without an entry runs it as it is, and warns after an edit, until ``arkor build``."""
    write_entry(name="first")
    run("start")
    run("start", "src/arkor/index.py")
    write_entry(name="edited")
    ended = run("start")
    assert ended.code == 0
    assert ended.err == (
        "Warning: running .arkor/build/index.pyz, which is older than src/arkor/index.py. "
        "To run your edit: 'arkor build'. "
        "To let 'arkor start' rebuild by itself: delete .arkor/build/index.pyz.\n"
    )
    run("build")
    assert run("start").err == ""
    assert names(arkor_cloud) == ["first", "first", "first", "edited"]


def test_a_syntax_error_after_an_edit_stops_the_start(arkor_cloud: Cloud) -> None:
    """It is named with its line, nothing is submitted, and the artifact of the last start is whole."""
    file = write_entry(name="first")
    run("start")
    before = Path(".arkor/build/index.pyz").read_bytes()
    file.write_text("x = 1\nif\n")
    ended = run("start")
    assert (ended.code, ended.err.startswith(f"Error: {file}:2: does not parse: ")) == (2, True)
    assert names(arkor_cloud) == ["first"]
    assert Path(".arkor/build/index.pyz").read_bytes() == before
    assert Command(program=(".arkor/build/index.pyz",)).end().code == 0


def test_an_artifact_that_is_named_runs_as_it_is(arkor_cloud: Cloud) -> None:
    """As ENTRY, or by itself with Python: also one that a start built by itself."""
    write_entry(name="first")
    run("start")
    write_entry(name="edited")
    assert run("start", ".arkor/build/index.pyz").err == ""
    assert Command(program=(".arkor/build/index.pyz",)).end().err == ""
    assert names(arkor_cloud) == ["first", "first", "first"]


# start: how it ends


def test_a_failed_job_exits_1_and_says_why(arkor_cloud: Cloud) -> None:
    """CI notices a failed training."""
    arkor_cloud.plan = [started(), failed("out of memory")]
    write_entry()
    ended = run("start")
    assert ended.code == 1
    assert ended.out.endswith("Job job_1 finished with status=failed\n")
    assert ended.err == "Error: out of memory\n"


def test_a_cancelled_job_exits_1(arkor_cloud: Cloud) -> None:
    """A job that somebody stopped did not complete."""
    gate = threading.Event()
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=gate))
    write_entry()
    command = Command("start")
    eventually(lambda: arkor_cloud.streams, "the job is followed")
    arkor_cloud.settle("cancelled")
    gate.set()
    ended = command.end()
    assert ended.code == 1
    assert ended.out.endswith("Job job_1 finished with status=cancelled\n")


def test_an_entry_without_a_trainer_says_what_to_export(arkor_cloud: Cloud) -> None:
    """The message of the documentation, in Python's names."""
    file = write_entry()
    file.write_text("something = 1\n")
    ended = run("start")
    assert (ended.code, ended.err) == (2, f"{NO_TRAINER}\n")
    assert arkor_cloud.requests == []


def test_a_setting_out_of_its_range_is_named(arkor_cloud: Cloud) -> None:
    """One line with the setting, its range and the value, and where it was written."""
    file = write_entry(more="max_steps=-1")
    ended = run("start")
    assert ended.code == 2
    assert ended.err == f"Error: {file}:3: max_steps: must be a whole number, 1 to 1000000000, not -1\n"
    assert arkor_cloud.requests == []


def test_a_setting_that_does_not_exist_names_the_nearest(arkor_cloud: Cloud) -> None:
    """One line too, and no traceback."""
    file = write_entry(more="max_step=3")
    ended = run("start")
    assert ended.code == 2
    assert ended.err == f"Error: {file}:3: max_step: Trainer has no such option; did you mean max_steps?\n"
    assert arkor_cloud.requests == []


def test_a_broken_row_is_named(arkor_cloud: Cloud) -> None:
    """Row 17 of the file, and why; no job is made."""
    rows = ['{"text": "a good row"}\n'] * 16 + ['{"text": broken}\n'] + ['{"text": "a good row"}\n'] * 3
    Path("rows.jsonl").write_text("".join(rows))
    write_entry(dataset={"type": "local", "path": "rows.jsonl"})
    ended = run("start")
    assert ended.code == 2
    assert "rows.jsonl: 1 row cannot be trained on\n  row 17: is not JSON: " in ended.err
    assert not arkor_cloud.calls("POST", "/v1/jobs")


def test_a_feature_that_the_backend_lacks_is_named(arkor_cloud: Cloud) -> None:
    """Good rows in a file, but the cloud takes no uploads."""
    Path("rows.jsonl").write_text('{"text": "a good row"}\n')
    write_entry(dataset={"type": "local", "path": "rows.jsonl"})
    ended = run("start")
    assert ended.code == 3
    assert "does not support uploading a data set" in ended.err


def test_an_entry_that_raises_is_one_line_with_its_place(arkor_cloud: Cloud) -> None:
    """File and line of the user's own code, the error, no traceback."""
    file = write_entry()
    file.write_text('import json\n\njson.loads("{")\n')
    ended = run("start")
    assert ended.code == 2
    assert ended.err.startswith(f"Error: {file}:3: JSONDecodeError: Expecting property name")
    assert ended.err.count("\n") == 1


def test_an_entry_that_trains_while_it_is_imported_is_told_what_that_costs(arkor_cloud: Cloud) -> None:
    """Options that come too late are refused; the way out is named, and the job that goes on."""
    file = write_entry()
    file.write_text(f"{file.read_text()}\ntrainer.start()\n")
    ended = run("start", "--dry-run")
    assert ended.code == 2
    assert ended.err.startswith("Job job_1 keeps running.\n  follow it: arkor attach job_1\n")
    assert (
        "Error: The entry starts its job while it is imported, too early for --local, --dry-run and --if-running."
        in ended.err
    )
    assert ended.err.endswith("Put the call that starts it under if __name__ == '__main__'.\n")


def test_debug_shows_the_whole_traceback(arkor_cloud: Cloud) -> None:
    """With the user's own file in it, though it runs from an artifact."""
    file = write_entry()
    file.write_text("def train():\n    return 1 / 0\n\n\ntrain()\n")
    ended = run("--debug", "start")
    assert ended.code == 2
    assert "Traceback" in ended.err
    assert f'File "{file}", line 2, in train' in ended.err
    assert "return 1 / 0" in ended.err


def test_a_callback_that_raises_is_named_and_the_job_goes_on(arkor_cloud: Cloud) -> None:
    """File and line of the user's own code, not of the library it called; and how to reach the job."""
    file = write_entry(more="callbacks={'on_log': lambda log: __import__('json').loads('{')}")
    ended = run("start")
    assert ended.code == 3
    assert f"Error: {file}:3: JSONDecodeError: Expecting property name" in ended.err
    assert "arkor attach job_1" in ended.err


def test_no_network_exits_3_and_says_where_it_looked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody listens: the address and what to check."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}"
        monkeypatch.setenv("ARKOR_CLOUD_API_URL", url)
        write_entry()
        ended = run("start")
    assert ended.code == 3
    assert ended.err.startswith(f"Error: No answer from {url}: connection refused.")


@pytest.mark.parametrize(
    ("status", "body", "code", "text"),
    [
        (401, {"error": "Unknown token"}, 3, "Unknown token"),
        (422, {"error": "model: there is no m"}, 2, "model: there is no m"),
        (500, b"broken", 3, "broken"),
        (
            426,
            {"error": "sdk_version_unsupported", "supportedRange": ">=9", "upgrade": "pip install -U arkor"},
            3,
            ">=9",
        ),
    ],
)
def test_an_error_of_the_backend_is_shown_in_its_words(
    arkor_cloud: Cloud, status: int, body: object, code: int, text: str
) -> None:
    """What it refuses as bad input exits 2, everything else 3."""
    arkor_cloud.answer("POST", "/v1/jobs", Answer(status=status, body=body))
    write_entry()
    ended = run("start")
    assert ended.code == code
    assert re.match(rf"Error: .*{re.escape(text)}", ended.err)


def test_giving_up_exits_3_and_says_how_to_go_on(arkor_cloud: Cloud) -> None:
    """The job goes on: its id is not lost."""
    arkor_cloud.answer("GET", STREAM, Answer(status=500))
    write_entry()
    ended = run("start")
    assert ended.code == 3
    assert "Trainer SSE stream failed 1 consecutive times; giving up." in ended.err
    assert "arkor attach job_1" in ended.err


def test_an_address_that_is_none_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """An empty ARKOR_CLOUD_API_URL is a mistake that surfaces, not a reason to train elsewhere."""
    monkeypatch.setenv("ARKOR_CLOUD_API_URL", "")
    write_entry()
    ended = run("start")
    assert ended.code == 2
    assert "ARKOR_CLOUD_API_URL" in ended.err


def test_a_user_without_a_home_folder_is_told_what_to_set() -> None:
    """As in a container whose user is a bare number; what needs no identity works."""
    write_entry()
    program = ("-c", NO_HOME)
    ended = Command("start", program=program).end()
    assert ended.code == 2
    assert "set HOME to a folder that this user may write" in ended.err
    assert Command("build", program=program).end().code == 0


# Ctrl-C


def test_ctrl_c_says_that_the_job_goes_on_and_how_to_reach_it(arkor_cloud: Cloud) -> None:
    """Exit code 130; the job is not cancelled; the two commands it names work."""
    arkor_cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    write_entry()
    command = Command("start")
    eventually(lambda: arkor_cloud.streams, "the job is followed", TIMEOUT_S)
    ended = command.interrupt()
    assert ended.code == 130
    assert "Job job_1 keeps running." in ended.err
    assert "arkor attach job_1\n" in ended.err
    assert "arkor cancel job_1\n" in ended.err
    assert not arkor_cloud.calls("POST", "/v1/jobs/*/cancel")
    attached = run("attach", "job_1")
    assert attached.code == 0
    assert "\nJob job_1 finished with status=completed\n" in attached.out


def test_ctrl_c_before_the_job_is_submitted_says_that_nothing_runs(arkor_cloud: Cloud) -> None:
    """There is nothing to attach to."""
    arkor_cloud.answer("POST", "/v1/auth/anonymous", Answer(gate=threading.Event()))
    write_entry()
    command = Command("start")
    eventually(lambda: arkor_cloud.requests, "the first request is under way", TIMEOUT_S)
    ended = command.interrupt()
    assert ended.code == 130
    assert "no job was submitted" in ended.err
    assert "attach" not in ended.err


def test_ctrl_c_while_attached_ends_following_only(routed_cloud: Cloud) -> None:
    """The same words as for start."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    routed_cloud.stream(Stream(frames=[frame(1, started())], gate=threading.Event()))
    command = Command("attach", "job_9")
    eventually(lambda: routed_cloud.streams, "the job is followed", TIMEOUT_S)
    ended = command.interrupt()
    assert ended.code == 130
    assert "arkor attach job_9" in ended.err


# attach and cancel


def test_attach_tells_a_job_from_its_first_event_to_its_end(routed_cloud: Cloud) -> None:
    """One line for each thing that happened."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    ended = run("attach", "job_9")
    assert ended.code == 0
    assert ended.out.splitlines() == [
        "Following job job_9",
        "Training started",
        "step 1  loss 2.5000",
        "step 2  loss 1.5000",
        "step 2  checkpoint saved",
        "step 3  loss 0.5000",
        "Job job_9 finished with status=completed",
        "The loss fell from 2.50 to 0.50.",
    ]


def test_attach_to_a_failed_job_exits_1(routed_cloud: Cloud) -> None:
    """The same exit codes as start."""
    routed_cloud.plan = [started(), failed("out of memory")]
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    ended = run("attach", "job_9")
    assert (ended.code, ended.err) == (1, "Error: out of memory\n")


@pytest.mark.parametrize("command", ["attach", "cancel"])
def test_a_folder_without_a_project_gets_none_by_looking(arkor_cloud: Cloud, command: str) -> None:
    """What only looks creates nothing; the error says where to go."""
    ended = run(command, "job_9")
    assert ended.code == 3
    assert "Go to the folder where the job was started" in ended.err
    assert not arkor_cloud.calls("POST", "/v1/projects")


@pytest.mark.parametrize("command", ["attach", "cancel"])
def test_a_job_that_does_not_exist_is_an_error(routed_cloud: Cloud, command: str) -> None:
    """The backend's own words."""
    ended = run(command, "job_404")
    assert (ended.code, ended.err) == (3, "Error: No such job\n")


def test_cancel_asks_the_backend_to_stop_a_job(routed_cloud: Cloud) -> None:
    """It says so, and the job is cancelled."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "running"}
    ended = run("cancel", "job_9")
    assert (ended.code, ended.out) == (0, "Asked the backend to stop job job_9.\n")
    assert routed_cloud.jobs["job_9"]["status"] == "cancelled"


def test_cancel_of_a_job_that_has_ended_says_so(routed_cloud: Cloud) -> None:
    """Never a silent success."""
    routed_cloud.jobs["job_9"] = {"id": "job_9", "status": "completed"}
    ended = run("cancel", "job_9")
    assert (ended.code, ended.err) == (3, "Error: The job is completed already\n")


# Without an interpreter


@pytest.mark.parametrize(
    "arguments",
    [("jobs", "--local"), ("models", "list"), ("models", "pull", "x"), ("serve",), ("server", "backup", "x")],
)
def test_a_python_that_is_gone_is_named(arguments: tuple[str, ...], project: Path) -> None:
    """As after an upgrade in the middle of a session; neither the folder nor a file of the user is to blame."""
    script = f"import sys; sys.executable = {str(project / 'bin/python')!r}; from arkor.cli import main; main()"
    ended = Command(*arguments, program=("-c", script)).end()
    assert (ended.code, ended.out) == (3, "")
    assert ended.err == (
        f"Error: The Python that runs arkor cannot be started again: {project / 'bin/python'}. "
        "Was it upgraded or moved meanwhile? Create the virtual environment again, then restart this program.\n"
    )


# Without the network


@pytest.mark.parametrize(
    ("program", "way"),
    [
        (("-m", "arkor.cli", "start", "src/arkor/index.py"), "add --local."),
        (("-c", "import arkor_entry; arkor_entry.trainer.wait()"), 'pass backend="local" to Trainer.'),
    ],
    ids=["command", "script"],
)
def test_without_the_network_training_on_this_machine_is_suggested(
    program: tuple[str, ...], way: str, project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the words of whoever asked: an option of the command, or a keyword of the script."""
    write_entry()
    write_entry("arkor_entry.py")
    monkeypatch.setenv("HTTPS_PROXY", "http://127.0.0.1:1")  # nobody listens there, whatever this machine's network is
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(project), *os.environ.get("PYTHONPATH", "").split()]))
    ended = subprocess.run(
        [sys.executable, *program], capture_output=True, text=True, timeout=TIMEOUT_S, check=False, env=dict(os.environ)
    )
    assert ended.returncode != 0
    last = ended.stderr.splitlines()[-1]
    assert "No answer from https://api.arkor.ai: " in last
    assert last.endswith(f" To use the backend on this machine instead, {way}")

"""``arkor export --to hub``: an export of a backend with scripted workers goes to a stand-in for the hub."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor import Aborted, Trainer, WaitTimeout
from arkor.errors import ConfigError
from tests.support.backend import BackendProcess
from tests.support.commands import Command, run
from tests.support.eventually import eventually
from tests.support.hub import TOKEN, Hub


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The hub that this process's environment names, with a token."""
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_an_adapter_is_uploaded_to_a_private_repository(hub: Hub, job: str, project: Path) -> None:
    """A second upload changes what differs; the token is in no output and in no file of the project."""
    ended = run("export", "--to", "hub", "--repo", "ada/tickets", "--local")
    assert ended.code == 0, ended.err
    assert ended.out.splitlines()[-1] == f"Uploaded: {hub.url}/ada/tickets"
    assert hub.repos == {"ada/tickets": True}
    assert hub.files["ada/tickets", "README.md"] == b"right"
    again = run("export", "--to", "hub", "--repo", "ada/tickets", "--upload", "merged", "--public", "--local")
    assert again.code == 0, again.err
    assert hub.repos == {"ada/tickets": True}
    assert TOKEN not in ended.out + ended.err + again.out + again.err
    files = [file for file in project.rglob("*") if file.is_file()]
    assert files
    assert not [file for file in files if TOKEN.encode() in file.read_bytes()]


@pytest.mark.parametrize(
    ("token", "says"),
    [("", "The Hugging Face hub needs a token to upload: "), ("hf_other", "The Hugging Face hub refuses it: 401 ")],
)
def test_a_token_that_the_hub_does_not_take_is_refused_before_the_export(
    hub: Hub, job: str, monkeypatch: pytest.MonkeyPatch, token: str, says: str
) -> None:
    """Nothing was made."""
    monkeypatch.setenv("HF_TOKEN", token)
    ended = run("export", "--to", "hub", "--repo", "ada/tickets", "--local")
    assert (ended.code, says in ended.err) == (3, True), ended.err
    assert "hf_other" not in ended.err
    assert "Export" not in run("jobs", "show", job, "--local").out
    assert hub.repos == {}


def test_a_hub_that_cannot_be_reached_is_named(hub: Hub, job: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its address."""
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    ended = run("export", "--to", "hub", "--repo", "ada/tickets", "--local")
    assert ended.code == 3
    assert "The Hugging Face hub cannot be reached at http://127.0.0.1:9: " in ended.err


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"to": "hub"}, "repo: must be the repository to upload to, owner/name, not None"),
        ({"to": "hub", "repo": "tickets"}, "repo: must be the repository to upload to, owner/name, not 'tickets'"),
        ({"to": "hub", "repo": "a/b", "upload": "hub"}, "upload: must be one of adapter, merged"),
        ({"to": "merged", "repo": "a/b"}, "repo: changes nothing in an export to 'merged': it is for 'hub'"),
        ({"to": "merged", "private": False}, "private: changes nothing in an export to 'merged'"),
    ],
)
def test_settings_that_do_not_fit_are_refused(job: str, settings: dict[str, object], says: str) -> None:
    """Before anything is asked."""
    with pytest.raises(ConfigError) as caught:
        Trainer.attach(job, backend="local").wait().export(**settings)  # type: ignore[arg-type]
    assert str(caught.value).startswith(says)


def test_an_upload_ends_with_its_timeout_or_abort(hub: Hub, job: str, tmp_path: Path) -> None:
    """At once; the export's folder is there all the same."""
    hub.held, abort = threading.Event(), threading.Event()
    result = Trainer.attach(job, backend="local").wait()
    with pytest.raises(WaitTimeout):
        result.export(to="hub", repo="ada/tickets", dest=tmp_path / "one", timeout=4)
    assert hub.committing.wait(0)
    hub.committing.clear()
    threading.Thread(target=_then, args=(hub.committing, abort), daemon=True).start()
    with pytest.raises(Aborted):
        result.export(to="hub", repo="ada/tickets", dest=tmp_path / "two", abort_event=abort)
    assert [len(list((tmp_path / name).glob("*/README.md"))) for name in ("one", "two")] == [1, 1]


def _then(first: threading.Event, second: threading.Event) -> None:
    first.wait()
    second.set()


def test_ctrl_c_ends_an_upload(hub: Hub, backend: BackendProcess, job: str) -> None:
    """With its usual exit code."""
    hub.held = threading.Event()
    command = Command("export", job, "--to", "hub", "--repo", "ada/tickets", "--local")
    eventually(hub.committing.is_set, "the upload has begun")
    ended = command.interrupt()
    assert ended.code == 130
    assert f"Interrupted. The export is made: arkor download {job} --artifact export-adapter-" in ended.err

"""The client's own care: what a backend can do, and artifacts that appear whole or not at all."""

from __future__ import annotations

import hashlib
import io
import resource
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.api.client import CloudApiClient, ModelStatus, Project
from arkor.errors import ArkorError, ConfigError, ConnectionFailed, ServerError, UnsupportedByBackend
from arkor.jobs import Artifact, Scope
from tests.support.cloud import Answer, Cloud

SCOPE = Scope("org", "project")
DOWNLOAD = "/v1/jobs/job_1/artifacts/*"


def tar(files: dict[str, bytes]) -> bytes:
    """Return an archive of some files."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as archive:
        for name, content in files.items():
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return buffer.getvalue()


ARCHIVE = tar({"adapter_model.safetensors": b"weights", "adapter_config.json": b"{}"})
ADAPTER = Artifact(name="adapter", sha256=hashlib.sha256(ARCHIVE).hexdigest())


@pytest.fixture
def client(cloud: Cloud) -> Iterator[CloudApiClient]:
    """A client that the stand-in knows; the stand-in keeps artifacts."""
    cloud.know("secret", "org")
    cloud.features = {"artifacts"}
    one = CloudApiClient(cloud.url, token="secret")
    yield one
    one.close()


def test_what_a_backend_can_do_is_asked_once(cloud: Cloud, client: CloudApiClient) -> None:
    """And then known."""
    assert client.features == client.features == {"artifacts"}
    assert len(cloud.requests) == 1


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_backend_that_does_not_say_can_do_nothing_more(cloud: Cloud, client: CloudApiClient, status: int) -> None:
    """Arkor Cloud, for one: a feature is then refused by its name."""
    cloud.answer("GET", "/v1/capabilities", Answer(status=status))
    with pytest.raises(UnsupportedByBackend, match=f"{cloud.url} does not support listing artifacts") as raised:
        client.list_artifacts(SCOPE, "job_1")
    assert raised.value.feature == "listing artifacts"


def test_a_backend_that_fails_to_say_is_asked_again(cloud: Cloud, client: CloudApiClient) -> None:
    """A failure is no answer, and is not remembered."""
    cloud.answer("GET", "/v1/capabilities", *[Answer(status=500, headers={"Retry-After": "0"})] * 3)
    with pytest.raises(ServerError):
        _ = client.features
    assert client.features == {"artifacts"}


@pytest.mark.parametrize("body", [{}, {"features": None}, {"features": "artifacts"}, {"features": {"artifacts": True}}])
def test_odd_features_are_none(cloud: Cloud, client: CloudApiClient, body: dict[str, object]) -> None:
    """Nothing is guessed."""
    cloud.answer("GET", "/v1/capabilities", Answer(body=body))
    assert client.features == frozenset()


def test_me_says_who_the_client_is(client: CloudApiClient) -> None:
    """As the backend puts it."""
    assert client.me()["orgs"][0]["slug"] == "org"


def test_jobs_and_projects_are_listed_as_values(cloud: Cloud, client: CloudApiClient) -> None:
    """What is no object in a list is passed over."""
    cloud.jobs["job_1"] = {"id": "job_1", "status": "running", "gpuType": "new"}
    (job,) = client.list_jobs(SCOPE)
    assert (job.id, job.extra) == ("job_1", {"gpuType": "new"})
    cloud.answer("GET", "/v1/projects", Answer(body={"projects": [{"id": "p", "slug": "s", "orgId": "o"}, 3, None]}))
    assert client.list_projects("org") == [Project("p", "s", "", "o")]
    cloud.answer("GET", "/v1/projects", Answer(body={"projects": "none"}))
    assert client.list_projects("org") == []


def test_models_are_listed_as_values(cloud: Cloud, client: CloudApiClient) -> None:
    """With how far a pull is."""
    cloud.features = {"models"}
    pull = {"state": "running", "done": 3}
    cloud.answer("GET", "/v1/models", Answer(body={"models": [{"id": "m", "ready": True, "pull": pull}, {"ready": 1}]}))
    assert client.list_models() == [ModelStatus("m", True, pull=pull), ModelStatus("", True)]


def test_an_artifact_is_downloaded_and_unpacked(cloud: Cloud, client: CloudApiClient, tmp_path: Path) -> None:
    """A folder of its name, and nothing else."""
    cloud.answer("GET", DOWNLOAD, Answer(body=ARCHIVE))
    folder = client.download_artifact(SCOPE, "job_1", ADAPTER, tmp_path / "adapters")
    assert folder == tmp_path / "adapters" / "adapter"
    assert {file.name: file.read_bytes() for file in folder.iterdir()} == {
        "adapter_model.safetensors": b"weights",
        "adapter_config.json": b"{}",
    }
    assert [file.name for file in folder.parent.iterdir()] == ["adapter"]


def test_a_download_replaces_the_folder_of_the_last_one(cloud: Cloud, client: CloudApiClient, tmp_path: Path) -> None:
    """Whole: nothing of the old one stays."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old").write_text("old")
    cloud.answer("GET", DOWNLOAD, Answer(body=ARCHIVE))
    folder = client.download_artifact(SCOPE, "job_1", ADAPTER, tmp_path)
    assert not (folder / "old").exists()


AT_ONCE = {"Retry-After": "0"}


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(body=ARCHIVE + b"x"), ArkorError, "arrived damaged"),
        (Answer(body=ARCHIVE, cut=3000), ConnectionFailed, "No answer from"),
        (Answer(status=500, headers=AT_ONCE), ServerError, "cloud-api 500"),
    ],
    ids=["damaged", "cut", "refused"],
)
def test_a_download_that_fails_leaves_what_was_there(
    cloud: Cloud, client: CloudApiClient, tmp_path: Path, answer: Answer, error: type[Exception], says: str
) -> None:
    """The last artifact is still whole, and there is no half one."""
    (tmp_path / "adapter").mkdir()
    (tmp_path / "adapter" / "old").write_text("old")
    cloud.answer("GET", DOWNLOAD, *[answer] * 3)
    with pytest.raises(error, match=says):
        client.download_artifact(SCOPE, "job_1", ADAPTER, tmp_path)
    assert [str(file.relative_to(tmp_path)) for file in sorted(tmp_path.rglob("*"))] == ["adapter", "adapter/old"]


@pytest.mark.parametrize("name", ["", "..", ".", "a/b", "/etc", "../adapter"])
def test_an_artifact_cannot_leave_its_folder_by_its_name(client: CloudApiClient, tmp_path: Path, name: str) -> None:
    """Whatever a backend calls it."""
    with pytest.raises(ArkorError, match="cannot be a folder's name"):
        client.download_artifact(SCOPE, "job_1", Artifact(name=name), tmp_path / "adapters")
    assert list(tmp_path.iterdir()) == []


def test_an_artifact_cannot_leave_its_folder_by_its_members(
    cloud: Cloud, client: CloudApiClient, tmp_path: Path
) -> None:
    """Nothing is written outside of the folder, and the error is one of ours."""
    cloud.answer("GET", DOWNLOAD, Answer(body=tar({"../outside": b"evil"})))
    with pytest.raises(ArkorError, match="Artifact adapter of job job_1 cannot be unpacked: "):
        client.download_artifact(SCOPE, "job_1", Artifact(name="adapter"), tmp_path / "adapters")
    assert not list(tmp_path.rglob("outside"))


def test_an_artifact_that_is_no_archive_is_named(cloud: Cloud, client: CloudApiClient, tmp_path: Path) -> None:
    """One of our own errors."""
    cloud.answer("GET", DOWNLOAD, Answer(body=b"no archive"))
    with pytest.raises(ArkorError, match="Artifact adapter of job job_1 cannot be unpacked: "):
        client.download_artifact(SCOPE, "job_1", Artifact(name="adapter"), tmp_path)


def test_a_disk_that_is_full_is_told_as_such(cloud: Cloud, client: CloudApiClient, tmp_path: Path) -> None:
    """Not as a fault of the network; nothing half stays."""
    assert client.features
    cloud.answer("GET", DOWNLOAD, Answer(body=ARCHIVE))
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        with pytest.raises(ArkorError, match="adapter cannot be written: File too large") as raised:
            client.download_artifact(SCOPE, "job_1", ADAPTER, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not isinstance(raised.value, ConnectionFailed)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_none_is_refused_before_anything_is_sent() -> None:
    """By the name of the setting."""
    with pytest.raises(ConfigError, match="ARKOR_CLOUD_API_URL"):
        CloudApiClient("nonsense", token="secret")

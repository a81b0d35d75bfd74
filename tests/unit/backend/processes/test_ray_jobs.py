"""Ray's jobs over HTTP: which token is sent, and what each failure says."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.backend.processes.engine import EngineAway
from arkor.backend.processes.ray_engine import connect
from arkor.backend.processes.ray_jobs import RayJobs, RayRefuses, ray_token
from arkor.errors import LocalBackendError
from tests.support.ray_cluster import free_port
from tests.support.scripted_ray import ScriptedRay, scripted_ray


@pytest.fixture
def ray() -> Iterator[ScriptedRay]:
    with scripted_ray() as running:
        yield running


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text("from-path\n")
    return path


def test_the_token_is_the_one_that_rays_own_client_sends(token_file: Path, tmp_path: Path) -> None:
    """A variable, else a file that a variable names, else the default file; none if the mode says so."""
    default = tmp_path / ".ray" / "auth_token"
    default.parent.mkdir()
    default.write_text("from-home\n")
    home = {"HOME": str(tmp_path)}
    path = {**home, "RAY_AUTH_TOKEN_PATH": str(token_file)}
    assert ray_token({**path, "RAY_AUTH_TOKEN": "given", "RAY_AUTH_MODE": "token"}) == "given"
    assert ray_token({**path, "RAY_AUTH_MODE": "token"}) == "from-path"
    assert ray_token({**home, "RAY_AUTH_MODE": "token"}) == "from-home"
    assert ray_token(home) == "from-home"
    assert ray_token({**path, "RAY_AUTH_TOKEN": "given", "RAY_AUTH_MODE": "disabled"}) is None
    assert ray_token({"HOME": str(tmp_path / "other")}) is None


def test_a_token_that_is_wanted_and_missing_is_an_error(tmp_path: Path) -> None:
    """It says which variable to set, or which file cannot be read."""
    with pytest.raises(RayRefuses, match="set RAY_AUTH_TOKEN or RAY_AUTH_TOKEN_PATH"):
        ray_token({"RAY_AUTH_MODE": "token", "HOME": str(tmp_path)})
    with pytest.raises(RayRefuses, match=r"No such file or directory: .*gone"):
        ray_token({"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(tmp_path / "gone")})


def test_a_wrong_token_and_a_missing_one_are_told_apart(
    ray: ScriptedRay, token_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No text has the token; a password of ~/.netrc is never sent."""
    ray.token = "right"
    (token_file.parent / ".netrc").write_text("machine 127.0.0.1 login me password secret\n")
    (token_file.parent / ".netrc").chmod(0o600)
    monkeypatch.setenv("HOME", str(token_file.parent))
    with pytest.raises(RayRefuses, match="wants a token: set RAY_AUTH_MODE=token"):
        RayJobs(ray.address, {}).all()
    assert "Authorization" not in ray.headers
    with pytest.raises(RayRefuses, match="refuses the token") as raised:
        RayJobs(ray.address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "wrong-one"}).all()
    assert "wrong-one" not in str(raised.value)
    assert RayJobs(ray.address, {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": "right"}).all() == {}


def test_a_token_that_is_replaced_is_read_again(ray: ScriptedRay, token_file: Path) -> None:
    """A backend runs for months."""
    jobs = RayJobs(ray.address, {"RAY_AUTH_TOKEN_PATH": str(token_file)})
    for token in ("first", "second"):
        ray.token = token
        token_file.write_text(token)
        assert jobs.all() == {}


def test_a_backend_does_not_start_with_a_wrong_token_or_another_program(
    ray: ScriptedRay, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It starts if nothing answers: the cluster may come later, and jobs wait."""
    monkeypatch.delenv("RAY_AUTH_MODE", raising=False)
    ray.token = "right"
    with pytest.raises(LocalBackendError, match="wants a token"):
        connect(ray.address)
    ray.token = None
    ray.answers = [(200, "<html>")]
    with pytest.raises(LocalBackendError, match="does not answer as Ray does"):
        connect(ray.address)
    ray.answers = [(404, "not found")]
    with pytest.raises(LocalBackendError, match="is it Ray's dashboard"):
        connect(ray.address)
    connect(f"http://127.0.0.1:{free_port()}")
    assert "Jobs wait until Ray answers" in caplog.text


def test_a_refusal_says_why_and_a_failure_of_ray_is_worth_another_try(ray: ScriptedRay) -> None:
    """Ray answers with a traceback; its last line is the reason."""
    jobs = RayJobs(ray.address, {})
    ray.answers = [(400, "Traceback …\n  File …\nTypeError: entrypoint_num_cpus"), (404, "")]
    with pytest.raises(OSError, match=r"refused the job with status 400: TypeError: entrypoint_num_cpus$"):
        jobs.submit("arkor-job_1-1", "exec true")
    ray.answers = [(500, "Traceback …")]
    with pytest.raises(EngineAway, match="failed with status 500"):
        jobs.all()


def test_a_job_that_is_there_already_is_not_submitted_twice(ray: ScriptedRay) -> None:
    """Its first answer was lost."""
    jobs = RayJobs(ray.address, {})
    jobs.submit("arkor-job_1-1", "exec true")
    jobs.submit("arkor-job_1-1", "exec true")
    assert list(jobs.all()) == ["arkor-job_1-1"]

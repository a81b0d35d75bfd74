"""The address that installs the same copy of arkor again, by what installers record."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import arkor
from arkor.system import origin as module
from arkor.system.origin import Origin, origin, requirement
from arkor.system.upgrade import upgrade_command

COMMIT = "0123456789abcdef0123456789abcdef01234567"
GIT = {"vcs": "git", "commit_id": COMMIT}


def copy_in(site: Path, record: Any = None) -> Path:
    """Make a copy with the metadata that installers write; return its package."""
    (site / "arkor").mkdir(parents=True)
    metadata = site / "arkor-0.1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: arkor\nVersion: 0.1.0\n")
    if record is not None:
        (metadata / "direct_url.json").write_text(record if isinstance(record, str) else json.dumps(record))
    return site / "arkor"


def address(package: Path, *search: Path) -> str | None:
    """Return the address of a copy."""
    found = origin(package, map(str, search))
    return None if found is None else found.address


@pytest.mark.parametrize(
    ("record", "expected"),
    [
        ({"url": "https://a.example/arkor-0.1.0.whl", "archive_info": {}}, "https://a.example/arkor-0.1.0.whl"),
        ({"url": "https://g.example/o/arkor.git", "vcs_info": GIT}, f"git+https://g.example/o/arkor.git@{COMMIT}"),
        ({"url": "ssh://git@g.example/o/arkor", "vcs_info": GIT}, f"git+ssh://git@g.example/o/arkor@{COMMIT}"),
        (
            {"url": "https://g.example/mono", "vcs_info": GIT, "subdirectory": "py/arkor"},
            f"git+https://g.example/mono@{COMMIT}#subdirectory=py/arkor",
        ),
    ],
)
def test_a_source_elsewhere_is_named_as_it_was_installed(tmp_path: Path, record: Any, expected: str) -> None:
    """A wheel by its URL, a repository with the commit, whatever branch was asked for."""
    assert address(copy_in(tmp_path / "site", record)) == expected


@pytest.mark.parametrize("secret", ["me:hunter2", "hunter2", "oauth2:hunter2", "x-access-token:hunter2"])
@pytest.mark.parametrize("kind", [{"vcs_info": GIT}, {"archive_info": {}}])
def test_credentials_are_never_part_of_it(tmp_path: Path, secret: str, kind: Any) -> None:
    """Installers may record them; a project's files are shared."""
    found = address(copy_in(tmp_path / "site", {"url": f"https://{secret}@g.example:8443/o/arkor", **kind}))
    assert found is not None
    assert "hunter2" not in found
    assert "://g.example:8443/o/arkor" in found


def test_a_password_for_ssh_is_dropped_too(tmp_path: Path) -> None:
    """The user name goes with it."""
    record = {"url": "ssh://git:hunter2@g.example/o/arkor", "vcs_info": GIT}
    assert address(copy_in(tmp_path / "site", record)) == f"git+ssh://g.example/o/arkor@{COMMIT}"


def test_variables_in_place_of_credentials_stay(tmp_path: Path) -> None:
    """They say nothing, and pip fills them in."""
    record = {"url": "https://${USER_NAME}:${TOKEN}@g.example/o/arkor", "vcs_info": GIT}
    assert (
        address(copy_in(tmp_path / "site", record))
        == f"git+https://${{USER_NAME}}:${{TOKEN}}@g.example/o/arkor@{COMMIT}"
    )


@pytest.mark.parametrize(
    "record",
    [
        None,
        "not json",
        [],
        {"url": 3},
        {"dir_info": {}},
        {"url": "https://a.example/arkor.whl?signature=secret", "archive_info": {}},
        {"url": 'https://a.example/a"b.whl', "archive_info": {}},
        {"url": "https://a.example/arkor", "vcs_info": {"vcs": "git", "commit_id": "a b"}},
        {"url": "file:///gone/arkor-0.1.0.whl", "archive_info": {}},
        {"url": "/no/scheme", "archive_info": {}},
    ],
    ids=range(10),
)
def test_an_origin_that_cannot_be_used_is_unknown(tmp_path: Path, record: Any) -> None:
    """No record, as from an index; a broken one; a signature in the URL; a file that is gone."""
    assert address(copy_in(tmp_path / "site", record)) is None


def test_metadata_of_another_copy_says_nothing(tmp_path: Path) -> None:
    """An installed one beside a checkout that Python imports."""
    copy_in(tmp_path / "site", {"url": "https://a.example/arkor.whl", "archive_info": {}})
    copy_in(tmp_path / "other", {"url": (tmp_path / "site").as_uri(), "dir_info": {"editable": True}})
    (tmp_path / "mine" / "arkor").mkdir(parents=True)
    assert address(tmp_path / "mine" / "arkor", tmp_path / "site", tmp_path / "other") is None


def test_a_checkout_is_its_own_address(tmp_path: Path) -> None:
    """If Python imports it from there without any installation."""
    checkout = tmp_path / "my sources"
    (checkout / "arkor").mkdir(parents=True)
    (checkout / "setup.py").write_text("")
    assert address(checkout / "arkor") == checkout.as_uri()


def test_this_copy_has_an_address() -> None:
    """The extra is part of the requirement."""
    assert (requirement("local") or "").startswith("arkor[local] @ ")
    assert (requirement() or "").startswith("arkor @ ")


def test_nothing_is_required_by_a_bare_name(monkeypatch: pytest.MonkeyPatch) -> None:
    """It may be somebody else's package."""
    monkeypatch.setattr(module, "origin", lambda: None)
    assert requirement("local") is None


@pytest.mark.parametrize(
    ("revision", "newest"),
    [("main", "git+https://g.example/arkor@main"), ("", "git+https://g.example/arkor"), (COMMIT[:9], None)],
)
def test_a_repository_is_upgraded_on_its_branch(tmp_path: Path, revision: str, newest: str | None) -> None:
    """A commit that was asked for has no newer version: the default branch has."""
    expected = newest or "git+https://g.example/arkor"
    info = {**GIT, "requested_revision": revision}
    package = copy_in(tmp_path / "site", {"url": "https://g.example/arkor", "vcs_info": info})
    assert upgrade_command(package, tmp_path / "env") == f"pip install --upgrade 'arkor @ {expected}'"


def test_a_wheel_has_no_newer_version_of_its_own(tmp_path: Path) -> None:
    """The name would be looked up on an index that does not have us; one that an index installed is upgraded there."""
    wheel = copy_in(tmp_path / "site", {"url": "https://a.example/arkor.whl", "archive_info": {}})
    assert upgrade_command(wheel, tmp_path / "env") == "pip install --upgrade PATH-OF-A-NEWER-WHEEL"
    assert upgrade_command(copy_in(tmp_path / "index"), tmp_path / "env") == "pip install --upgrade arkor"
    assert Origin("https://a.example/arkor.whl").newest is None


# Real installations


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tree of arkor with what this module needs, in a git repository."""
    folder = tmp_path_factory.mktemp("sources") / "my arkor"
    package = Path(arkor.__file__).parent
    for name in ("__init__.py", "version.py", "system/__init__.py", "system/origin.py"):
        (folder / "arkor" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(package / name, folder / "arkor" / name)
    (folder / "setup.py").write_text(
        "from setuptools import setup\n"
        "setup(name='arkor', version='0.1.0', packages=['arkor', 'arkor.system'], extras_require={'local': []})\n"
    )
    git("init", "--quiet", cwd=folder)
    git("add", ".", cwd=folder)
    git("-c", "user.name=a", "-c", "user.email=a@b.c", "commit", "--quiet", "-m", "x", cwd=folder)
    return folder


def git(*arguments: str, cwd: Path) -> str:
    return subprocess.run(["git", *arguments], cwd=cwd, capture_output=True, text=True, check=True, timeout=60).stdout


def pip(*arguments: str) -> None:
    """Run this Python's pip without a network."""
    options = ["--disable-pip-version-check", "--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    options += ["--use-pep517"]  # before 23.1, pip took another way, which records no origin
    subprocess.run([sys.executable, "-m", "pip", *arguments, *options], check=True, timeout=100, cwd="/", env=alone())


def alone() -> dict[str, str]:
    """Return the environment without other copies of arkor."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}


def asked(site: Path) -> str:
    """Return what a copy in a folder of packages says it is installed by."""
    code = "from arkor.system.origin import requirement; print(requirement('local'))"
    start = f"import site, sys; sys.path.insert(0, {str(site)!r}); site.addsitedir({str(site)!r}); {code}"
    return subprocess.run(
        [sys.executable, "-S", "-P", "-c", start], capture_output=True, text=True, check=True, timeout=30, env=alone()
    ).stdout.strip()


@pytest.fixture(autouse=True)
def _with_pip(request: pytest.FixtureRequest) -> None:
    if "source" in request.fixturenames:
        for name in ("pip", "setuptools"):
            if importlib.util.find_spec(name) is None:
                pytest.skip(f"{name} is not installed")


def test_a_real_wheel_is_named_and_can_be_installed_again(tmp_path: Path, source: Path) -> None:
    """The line that it gives installs the same copy, extra included."""
    pip("wheel", str(source), "--wheel-dir", str(tmp_path / "my wheels"))
    wheel = next((tmp_path / "my wheels").glob("*.whl"))
    pip("install", str(wheel), "--target", str(tmp_path / "one"))
    line = asked(tmp_path / "one")
    assert line == f"arkor[local] @ {wheel.as_uri()}"
    (tmp_path / "requirements.txt").write_text(f"# a comment\n{line}\n")
    pip("install", "-r", str(tmp_path / "requirements.txt"), "--target", str(tmp_path / "two"))
    assert asked(tmp_path / "two") == line
    wheel.unlink()
    assert asked(tmp_path / "two") == "None"


def test_a_real_install_from_git_names_the_commit(tmp_path: Path, source: Path) -> None:
    """Not the branch."""
    branch = git("branch", "--show-current", cwd=source).strip()
    pip("install", f"git+{source.as_uri()}@{branch}", "--target", str(tmp_path / "site"))
    commit = git("rev-parse", "HEAD", cwd=source).strip()
    assert asked(tmp_path / "site") == f"arkor[local] @ git+{source.as_uri()}@{commit}"


def test_a_real_install_from_a_folder_names_the_folder(tmp_path: Path, source: Path) -> None:
    """As it does for an editable one, whose metadata is elsewhere."""
    pip("install", str(source), "--target", str(tmp_path / "site"))
    assert asked(tmp_path / "site") == f"arkor[local] @ {source.as_uri()}"
    pip("install", "--editable", str(source), "--prefix", str(tmp_path / "env"), "--ignore-installed")
    site = next((tmp_path / "env").rglob("site-packages"))
    assert asked(site) == f"arkor[local] @ {source.as_uri()}"

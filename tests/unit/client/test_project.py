"""Which project a folder's jobs belong to: every branch, and every way out that a message names."""

from __future__ import annotations

import json
import os
import re
import tempfile
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from arkor.auth.identity import Identity
from arkor.client.client import CloudApiClient
from arkor.client.project import (
    ProjectState,
    ensure_project,
    find_project,
    project_slug,
    read_state,
    state_path,
    write_state,
)
from arkor.errors import Conflict, ProjectStateError
from arkor.protocol.jobs import Scope
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.full_disk import largest_file
from tests.support.stranger import write_note

STATE = ProjectState("my-org", "my-slug", "project_7")


def client(cloud: Cloud, org_slug: str | None = "my-org", host_key: str | None = "some-host") -> CloudApiClient:
    """Return a client under an identity of an organisation, or under an account's."""
    cloud.know("token", org_slug or "account-org")
    return CloudApiClient(cloud.url, identity=Identity("token", host_key, org_slug))


def routing(*, host: str | None = None) -> ProjectState:
    """Return the folder's routing, which is there."""
    state = read_state(host=host)
    assert state is not None
    return state


# The file


def test_the_routing_has_its_place(project: Path) -> None:
    """One for the login's backend, one for each other."""
    assert state_path() == state_path(project) == project / ".arkor" / "state.json"
    assert state_path("/x", host="h") == Path("/x/.arkor/hosts/h/state.json")


def test_a_routing_is_written_and_read() -> None:
    """In the names of the contract, nothing else beside it."""
    assert read_state() is None
    write_state(STATE)
    body = {"orgSlug": "my-org", "projectSlug": "my-slug", "projectId": "project_7"}
    assert json.loads(state_path().read_bytes()) == body
    assert read_state() == STATE
    assert read_state(host="h") is None
    assert STATE.scope == Scope("my-org", "my-slug")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b"[" * 100_000,
        b"{}",
        b'{"orgSlug": "a", "projectSlug": "b"}',
        b'{"orgSlug": "a", "projectSlug": "b", "projectId": ""}',
        b'{"orgSlug": "a", "projectSlug": "b", "projectId": 3}',
    ],
    ids=lambda content: repr(content)[:30],
)
def test_a_routing_without_all_three_is_ignored(content: bytes) -> None:
    """As if it were not there."""
    state_path().parent.mkdir()
    state_path().write_bytes(content)
    assert read_state() is None


def test_keys_of_other_clients_are_kept_when_the_routing_is_rewritten() -> None:
    """Nobody loses what we do not know."""
    body = {"orgSlug": "a", "projectSlug": "b", "projectId": "c", "extra": 1, "newKey": {"x": [None]}}
    state_path().parent.mkdir()
    state_path().write_text(json.dumps(body))
    write_state(routing())
    assert json.loads(state_path().read_bytes()) == body


texts = st.text(min_size=1)


@settings(max_examples=50)
@given(
    st.builds(
        ProjectState,
        texts,
        texts,
        texts,
        st.dictionaries(
            st.text().filter(lambda key: key not in {"orgSlug", "projectSlug", "projectId"}), st.integers()
        ),
    )
)
def test_what_is_written_is_read(state: ProjectState) -> None:
    """Whatever characters it has."""
    with tempfile.TemporaryDirectory() as folder:
        write_state(state, folder)
        assert read_state(folder) == state


@settings(max_examples=150)
@given(
    st.binary() | st.dictionaries(st.sampled_from(["orgSlug", "projectSlug", "projectId"]), st.text() | st.integers())
)
def test_no_bytes_on_the_disk_break_reading(content: bytes | dict[str, object]) -> None:
    """They are a routing with all three, or none; the file stays as it is."""
    raw = content if isinstance(content, bytes) else json.dumps(content).encode()
    with tempfile.TemporaryDirectory() as folder:
        file = state_path(folder)
        file.parent.mkdir()
        file.write_bytes(raw)
        state = read_state(folder)
        assert state is None or all((state.org_slug, state.project_slug, state.project_id))
        assert file.read_bytes() == raw


def test_a_full_disk_leaves_the_old_routing_whole() -> None:
    """And nothing half beside it."""
    write_state(STATE)
    with largest_file(10), pytest.raises(ProjectStateError, match="cannot be written"):
        write_state(ProjectState("a", "b", "c"))
    assert read_state() == STATE
    assert [file.name for file in state_path().parent.iterdir()] == ["state.json"]


def test_a_routing_that_cannot_be_read_or_written_is_an_error() -> None:
    """One of our own, with the file."""
    state_path().mkdir(parents=True)
    with pytest.raises(ProjectStateError, match=re.escape(str(state_path()))):
        read_state()
    with pytest.raises(ProjectStateError, match="cannot be written"):
        write_state(STATE)


# The rules


@pytest.mark.parametrize("org_slug", ["my-org", None], ids=["anonymous", "account"])
def test_a_usable_routing_is_used(cloud: Cloud, project: Path, org_slug: str | None) -> None:
    """Without a request."""
    write_state(STATE, host="some-host")
    assert ensure_project(client(cloud, org_slug), project) == STATE.scope
    assert cloud.requests == []


def test_a_routing_of_another_organisation_is_an_error_with_both_ways_out(cloud: Cloud, project: Path) -> None:
    """It names the file, both organisations, and what to do; the file is not touched."""
    write_state(STATE)
    before = state_path().read_bytes()
    with pytest.raises(ProjectStateError) as raised:
        ensure_project(client(cloud, "other-org", host_key=None), project)
    assert str(raised.value) == (
        f"{state_path()} belongs to organisation my-org, but the anonymous identity in use is other-org. "
        "Delete the file to start a new project, or log in with the account that owns it."
    )
    assert state_path().read_bytes() == before
    assert cloud.requests == []


def test_an_account_without_a_routing_is_an_error_that_says_what_to_write(cloud: Cloud, project: Path) -> None:
    """An account may have several organisations: nothing is guessed."""
    with pytest.raises(ProjectStateError) as raised:
        ensure_project(client(cloud, None, host_key=None), project)
    for part in (str(state_path()), "by hand", "orgSlug", "projectSlug", "projectId"):
        assert part in str(raised.value)
    assert not state_path().exists()
    assert cloud.requests == []


def test_an_anonymous_identity_gets_a_project_of_the_folders_name(cloud: Cloud, tmp_path: Path) -> None:
    """It is created and written down."""
    folder = tmp_path / "My Bot!"
    folder.mkdir()
    assert ensure_project(client(cloud), folder) == Scope("my-org", "my-bot")
    (call,) = cloud.requests
    assert (call.query, call.json()) == ({"orgSlug": "my-org"}, {"name": "My Bot!", "slug": "my-bot"})
    assert read_state(folder, host="some-host") == ProjectState("my-org", "my-bot", "project_1")


def test_a_project_that_exists_is_reused(cloud: Cloud, project: Path) -> None:
    """A conflict means that it is there: the one of that slug."""
    one = client(cloud)
    one.create_project("my-org", name="other", slug="other")
    one.create_project("my-org", name="mine", slug="my-project")
    assert ensure_project(one, project) == Scope("my-org", "my-project")
    assert routing(host="some-host").project_id == "project_2"


def test_a_conflict_without_such_a_project_stays_a_conflict(cloud: Cloud, project: Path) -> None:
    """Somebody else's, say: nothing is written."""
    cloud.answer("POST", "/v1/projects", Answer(status=409, body={"error": "Slug is taken"}))
    with pytest.raises(Conflict, match="Slug is taken"):
        ensure_project(client(cloud), project)
    assert not state_path(host="some-host").exists()


def test_the_local_backends_routing_is_renewed(cloud: Cloud, project: Path, home: Path) -> None:
    """Its data may have been removed: a routing of an identity that is gone is worth nothing."""
    write_note(home, cloud.url)
    write_state(ProjectState("my-org", "my-slug", "project_7", {"kept": 1}), host="local")
    assert ensure_project(client(cloud, "other-org", host_key="local"), project) == Scope("other-org", "my-project")
    assert routing(host="local") == ProjectState("other-org", "my-project", "project_1", {"kept": 1})


def test_two_backends_keep_their_routing_apart(cloud: Cloud, project: Path) -> None:
    """One folder, one project on each."""
    ensure_project(client(cloud, host_key="one"), project)
    write_state(STATE, host="two")
    assert routing(host="one").project_slug == "my-project"
    assert read_state(host="two") == STATE
    assert read_state() is None


# The slug


@pytest.mark.parametrize(
    ("name", "slug"),
    [
        ("my-project", "my-project"),
        ("My Bot!", "my-bot"),
        ("__init__", "init"),
        ("a.b_c", "a-b-c"),
        ("äöü", "project"),
        ("x" * 50, "x" * 40),
        ("x" * 39 + " y", "x" * 39),
        ("-a-", "a"),
    ],
)
def test_a_folders_name_gives_a_slug(name: str, slug: str) -> None:
    """Lowercase, other characters become dashes, cut to 40, dashes trimmed at the ends."""
    assert project_slug(Path("/somewhere") / name) == slug


@given(st.text(st.characters(exclude_characters="/\0", exclude_categories=["Cs"]), min_size=1, max_size=60))
def test_every_name_gives_a_slug_that_a_backend_takes(name: str) -> None:
    """Never empty, never longer than 40, never a dash at an end, nothing outside the alphabet."""
    slug = project_slug(Path("/somewhere") / name)
    assert re.fullmatch(r"[a-z0-9]([a-z0-9-]{0,38}[a-z0-9])?", slug)


def test_a_relative_folder_is_named_by_where_it_is(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """``.`` has a name too."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "Here").mkdir()
    monkeypatch.chdir(tmp_path / "Here")
    assert project_slug(Path()) == "here"


@pytest.mark.parametrize("body", [{}, {"project": None}, {"project": "x"}])
def test_an_answer_without_a_project_writes_nothing_that_cannot_be_used(
    cloud: Cloud, project: Path, body: dict[str, Any]
) -> None:
    """An odd answer does not leave a routing without a project."""
    cloud.answer("POST", "/v1/projects", Answer(status=201, body=body))
    with pytest.raises(ProjectStateError):
        ensure_project(client(cloud), project)
    assert read_state(host="some-host") is None


# Looking only


def test_looking_for_a_project_makes_none(cloud: Cloud, project: Path) -> None:
    """Nothing is created, on the backend or on the disk."""
    assert find_project(client(cloud), project) is None
    assert {item.method for item in cloud.requests} == {"GET"}
    assert not (project / ".arkor").exists()


def test_a_project_is_found_by_its_routing_or_by_the_folders_name(cloud: Cloud, project: Path) -> None:
    """A folder that lost its routing still has its project."""
    scope = ensure_project(client(cloud), project)
    assert find_project(client(cloud), project) == scope
    state_path(host="some-host").unlink()
    assert find_project(client(cloud), project) == scope
    assert read_state(host="some-host") is None


def test_looking_for_a_project_refuses_what_making_one_refuses(cloud: Cloud, project: Path) -> None:
    """An account without a routing, a routing of another identity."""
    with pytest.raises(ProjectStateError, match="an account may have several organisations"):
        find_project(client(cloud, None), project)
    write_state(STATE, host="some-host")
    with pytest.raises(ProjectStateError, match="belongs to organisation my-org"):
        find_project(client(cloud, "other-org"), project)


def test_a_folder_whose_name_is_no_text_gets_a_project_all_the_same(cloud: Cloud, tmp_path: Path) -> None:
    """Bytes that are no UTF-8 become question marks of their own kind, and a long name is cut."""
    folder = tmp_path / os.fsdecode(b"caf\xe9-" + b"x" * 240)
    folder.mkdir()
    ensure_project(client(cloud), folder)
    name = cloud.calls("POST", "/v1/projects")[0].json()["name"]
    assert (name[:5], len(name)) == ("caf\N{REPLACEMENT CHARACTER}-", 200)

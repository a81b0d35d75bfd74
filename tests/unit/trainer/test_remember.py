"""The file that keeps where a trainer is with its job."""

from __future__ import annotations

import json
import logging
import threading
from pathlib import Path

import attrs
import pytest

from arkor.client.position import StreamPosition
from arkor.errors import ConfigError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from arkor.trainer.remember import Bookmark, Place

PLACE = Place(backend="api.arkor.ai", name="run", idempotency_key="k", job_id="job_1")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the bookmark is kept."""
    return tmp_path / "run.json"


def position(*ids: str) -> StreamPosition:
    """Return a position after events with these ids."""
    place = StreamPosition()
    place.connect()
    for event_id in ids:
        place.offer(event_id)
        place.delivered = place.offered
    return place


def held(path: Path | None) -> Place | None:
    """Return the place that a bookmark holds."""
    with Bookmark(path).held() as place:
        return place


def test_what_was_written_is_read_again(path: Path) -> None:
    """In wire names; what a newer version added stays."""
    Bookmark(path).write(attrs.evolve(PLACE, last_event_id="7", extra={"newer": [1]}))
    assert json.loads(path.read_bytes())["lastEventId"] == "7"
    Bookmark(path).move("job_1", position("1", "8"))
    assert held(path) == attrs.evolve(PLACE, first_event_id="1", last_event_id="8", extra={"newer": [1]})


def test_there_is_no_place_where_nothing_was_written(path: Path) -> None:
    """And looking leaves no bookmark."""
    assert held(path) is None
    assert not path.exists()


def test_no_path_keeps_nothing(project: Path) -> None:
    """A trainer without one."""
    bookmark = Bookmark(None)
    bookmark.write(PLACE)
    bookmark.move("job_1", position("1"))
    bookmark.remove("job_1")
    bookmark.clear()
    assert held(None) is None
    assert list(project.iterdir()) == []


def test_a_bookmark_of_another_job_is_left_alone(path: Path) -> None:
    """Whoever followed the job before must not disturb the next one."""
    Bookmark(path).write(PLACE)
    Bookmark(path).move("job_0", position("9"))
    Bookmark(path).remove("job_0")
    assert held(path) == PLACE


def test_a_removed_bookmark_does_not_come_back(path: Path) -> None:
    """Who else follows the job may be a few events behind."""
    Bookmark(path).write(PLACE)
    Bookmark(path).remove("job_1")
    Bookmark(path).move("job_1", position("9"))
    assert not path.exists()


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b'"x"', b"\xff", b"[" * 100_000], ids=range(7))
def test_something_else_in_the_file_is_an_error_and_stays(path: Path, content: bytes) -> None:
    """It may be the user's."""
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"^remember: names .*run\.json, which does not hold a remembered job"):
        held(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("field", ["jobId", "lastEventId", "backend", "name"])
def test_values_of_other_types_are_an_error(path: Path, field: str) -> None:
    """Nothing that arkor wrote."""
    path.write_text(json.dumps({"backend": "b", "name": "n", "jobId": "j", field: 7}))
    with pytest.raises(ConfigError, match="does not hold a remembered job"):
        held(path)


def test_a_folder_in_its_place_is_an_error(path: Path) -> None:
    """Named, with the reason."""
    path.mkdir()
    with pytest.raises(ConfigError, match=r"run\.json, which cannot be used: Is a directory"):
        held(path)
    with pytest.raises(ConfigError, match=r"which cannot be used"):
        Bookmark(path).write(PLACE)


def test_a_file_where_a_folder_should_be_is_an_error(tmp_path: Path) -> None:
    """Before anything is sent."""
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(ConfigError, match="which cannot be used"):
        held(tmp_path / "file" / "run.json")


def test_a_place_that_cannot_be_brought_up_to_date_costs_a_warning(
    path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The older one loses no event: the wait goes on."""
    bookmark = Bookmark(path)
    bookmark.write(PLACE)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("arkor.trainer.remember.write_atomically", full)
    with caplog.at_level(logging.WARNING, "arkor"):
        bookmark.move("job_1", position("9"))
        bookmark.note(PLACE)
    assert "No space left on device" in caplog.text
    assert "job job_1 goes on" in caplog.text
    assert "a process that is killed now loses sight of job job_1" in caplog.text
    assert held(path) == PLACE


def test_one_process_submits_at_a_time(path: Path) -> None:
    """Who comes second sees what the first one submitted."""
    bookmark, seen, entered = Bookmark(path), list[Place | None](), threading.Event()

    def second() -> None:
        entered.set()
        seen.append(held(path))

    with bookmark.held() as place:
        assert place is None
        thread = threading.Thread(target=second)
        thread.start()
        entered.wait()
        bookmark.write(PLACE)
    thread.join(5)
    assert seen == [PLACE]


def test_waiting_for_the_other_process_ends_with_the_deadline(path: Path) -> None:
    """Nobody hangs on a lock."""
    with (
        Bookmark(path).held(),
        AbortScope(None, Deadline(0.05)) as limits,
        limits.active(),
        pytest.raises(WaitTimeout),
    ):
        held(path)

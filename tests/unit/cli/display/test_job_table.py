"""Jobs as lines of a table."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone

import pytest

from arkor.cli.display.job_table import age, local_time, print_table, short_ids, took
from arkor.cli.display.style import width_of
from arkor.protocol.jobs import TrainingJob


@pytest.fixture
def _zone(zone: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    with monkeypatch.context() as changed:
        changed.setenv("TZ", zone)
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("_zone")
@pytest.mark.parametrize(
    ("zone", "at", "shown"),
    [
        ("Asia/Tokyo", "2026-01-31T20:00:00Z", "2026-02-01 05:00"),
        ("Asia/Tokyo", "2026-01-31T20:00:00", "2026-02-01 05:00"),
        ("Asia/Tokyo", "9999-12-31T23:59:59Z", ""),
        ("America/New_York", "0001-01-01T00:00:00Z", ""),
        ("America/New_York", "soon", ""),
    ],
)
def test_a_time_is_that_of_the_users_zone(at: str, shown: str) -> None:
    """One that the calendar lacks there is none: some backends write the first second of the year 1 for that."""
    assert local_time(at) == shown


@pytest.mark.parametrize(
    ("ended", "shown"),
    [
        ("2026-01-01T00:00:00Z", "0m 00s"),
        ("2026-01-01T00:59:59Z", "59m 59s"),
        ("2026-01-02T01:02:03Z", "25h 02m"),
        ("2025-12-31T00:00:00Z", "0m 00s"),
    ],
)
def test_a_job_took_so_long(ended: str, shown: str) -> None:
    """Days are hours, too; clocks that disagree make no job end before its start."""
    assert took(TrainingJob(id="job_1", started_at="2026-01-01T00:00:00Z", completed_at=ended)) == shown


def test_columns_are_aligned_in_every_script(capsys: pytest.CaptureFixture[str]) -> None:
    """An ideograph is two columns wide, an accent of its own none."""
    names = ["返信の分類", "re\u0301ponses", "triage"]
    print_table([TrainingJob(id="job_1", name=name, status="running", created_at="2026-01-31") for name in names])
    shown = [line.split("running  ")[1].split("  2026")[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert shown == ["返信の分類", "re\u0301ponses  ", "triage    "]


@pytest.mark.parametrize(
    ("ids", "short"),
    [
        (["job_abcdefgh", "job_abcdefxy"], ["job_abcdefg", "job_abcdefx"]),
        (["job_1", "job_10"], ["job_1", "job_10"]),
        (["job_abcdefgh"], ["job_abcdef"]),
        ([], []),
    ],
)
def test_an_id_is_cut_to_what_no_other_one_begins_with(ids: list[str], short: list[str]) -> None:
    """But not to less than ten characters."""
    assert list(short_ids(ids).values()) == short


@pytest.mark.parametrize(
    ("days", "seconds", "shown"), [(0, 0, "0s"), (0, 59, "59s"), (0, 60, "1m"), (0, 7200, "2h"), (2, 3, "2d")]
)
def test_an_age_has_one_unit(days: int, seconds: int, shown: str) -> None:
    """The largest one; a time to come is now, and no time has no age."""
    at = datetime.now(timezone.utc) - timedelta(days=days, seconds=seconds)
    assert age(at.isoformat()) in {shown, shown.replace("59s", "1m")}
    assert (age((at + timedelta(days=99)).isoformat()), age("soon")) == ("0s", "")


@pytest.mark.parametrize("columns", [30, 60, 90, 140])
def test_a_table_for_people_fits(
    columns: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The least important columns go first, then names are cut."""
    monkeypatch.setattr("arkor.cli.display.job_table.columns_of", lambda _: columns)
    config = {"model": "owner/model", "maxSteps": 60}
    extra = {"progress": {"step": 24, "loss": 0.5, "evalLoss": 0.25}}
    jobs = [
        TrainingJob(id=f"job_{number}abcdefghi", name="返" * 14, status="completed", config=config, extra=extra)
        for number in range(3)
    ]
    print_table(jobs, for_people=True)
    lines = capsys.readouterr().out.splitlines()
    assert all(width_of(line) <= columns for line in lines)
    assert lines[1].split()[:2] == ["job_0abcde", "completed"]


def test_a_dry_run_is_marked_behind_its_name(capsys: pytest.CaptureFixture[str]) -> None:
    """Also where the name is cut, or empty."""
    for name in ("triage", "n" * 99, ""):
        print_table([TrainingJob(id="job_1", name=name, status="completed", config={"dryRun": True})])
        assert capsys.readouterr().out.rstrip().endswith("(dry run)")  # the columns behind the name are empty
    print_table([TrainingJob(id="job_1", name="triage", config={"dryRun": False})])
    assert "dry" not in capsys.readouterr().out

"""How far something is, told now and then."""

from __future__ import annotations

import pytest

from arkor.protocol.progress import ProgressReport, raising_as_it_was


def test_it_is_told_now_and_then_and_at_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first time after a while: what is over by then is not worth more than its end."""
    now = [0.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])
    told: list[int] = []
    report = ProgressReport(lambda done, _: told.append(done), 9)
    for done, at in ((1, 0.05), (2, 0.1), (3, 0.15), (4, 0.21), (9, 0.22)):
        now[0] = at
        report.tell(done)
    assert told == [2, 4, 9]


def test_what_the_function_raises_is_raised_as_it_was() -> None:
    """Even where it looks like a fault of the disk."""

    def fail(done: int, total: int | None) -> None:
        raise BrokenPipeError(done, total)

    def work() -> None:
        try:
            ProgressReport(fail, 9).tell(9)
        except OSError as exc:
            raise AssertionError("taken for a fault of the disk") from exc

    with pytest.raises(BrokenPipeError, match="9"), raising_as_it_was():
        work()


def test_without_a_function_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is called for each row, and does not even look at the clock."""
    report, looks = ProgressReport(None, None), []
    monkeypatch.setattr("time.monotonic", lambda: looks.append(1))
    report.tell(3)
    assert looks == []

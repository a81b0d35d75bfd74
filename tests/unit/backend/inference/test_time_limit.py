"""A limit on how long a program of somebody else's computes."""

from __future__ import annotations

import signal

import pytest

from arkor.backend.inference.time_limit import TookTooLong, cpu_time_limit


def _compute_for_ever(patience: int = 0) -> None:
    """Never end; pass over so many exceptions."""
    while True:
        try:
            while True:
                pass
        except TookTooLong:
            if not patience:
                raise
            patience -= 1


@pytest.mark.parametrize("patience", [0, 2])
def test_what_does_not_end_is_broken_off(patience: int) -> None:
    """Also where it passes over the first exception."""
    with pytest.raises(TookTooLong), cpu_time_limit(0.01):
        _compute_for_ever(patience)
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)


def test_what_ends_leaves_nothing_behind() -> None:
    """Neither a timer nor a handler, also where it raises."""
    before = signal.getsignal(signal.SIGPROF)
    with cpu_time_limit(60):
        pass
    with pytest.raises(KeyError), cpu_time_limit(60):
        raise KeyError
    assert signal.getitimer(signal.ITIMER_PROF) == (0.0, 0.0)
    assert signal.getsignal(signal.SIGPROF) == before

"""Saying how a worker ended when it could not say so itself."""

from __future__ import annotations

import signal

# What a worker exits with when it left a checkpoint and no verdict: it was told to stop (4), or lost its backend (3).
RESUMABLE_EXIT_CODES = frozenset({3, 4})


def describe_exit(exit_code: int, tail: str) -> str:
    """Return the text of the ``training.failed`` event for a worker that ended without a word.

    Args:
        exit_code: as ``subprocess`` gives it: minus the signal's number for a process that was killed.
        tail: the end of its log.
    """
    shown = f"\nThe end of its log:\n{tail}" if tail else "\nIts log is empty."
    return _ending(exit_code) + shown


def _ending(exit_code: int) -> str:
    if exit_code >= 0:
        return f"The worker ended with exit code {exit_code} without saying how the training went."
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = str(-exit_code)
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"The worker was killed by signal {name}{hint}."

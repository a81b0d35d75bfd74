"""Saying how a process ended when it could not say so itself."""

from __future__ import annotations

import signal

NO_BACKEND_EXIT_CODE = 3
# What a worker exits with when it left a checkpoint and no verdict: it was told to stop, or lost its backend.
TERMINATED_EXIT_CODE = 4
RESUMABLE_EXIT_CODES = frozenset({NO_BACKEND_EXIT_CODE, TERMINATED_EXIT_CODE})
NO_MEMORY_EXIT_CODE = 12  # these two are the numbers of the errors ENOMEM and ENOSPC
DISK_FULL_EXIT_CODE = 28
# These are of sysexits.h: EX_NOHOST, EX_UNAVAILABLE and EX_TEMPFAIL.
NODE_LOST_EXIT_CODE = 68  # of a process of the attempt on another device
NO_STORAGE_EXIT_CODE = 69
NOT_STARTED_EXIT_CODE = 75  # an engine found no room for the worker
LESS_MEMORY = "lower max_length or lora_r, set gradient_checkpointing=True, or take a smaller model"


def describe_exit(exit_code: int, tail: str) -> str:
    """Return the text of the ``training.failed`` event for a worker that ended without a word.

    Args:
        exit_code: as ``subprocess`` gives it, 0 or more.
        tail: the end of its log.
    """
    return f"The worker ended with exit code {exit_code} without saying how the training went." + shown_log(tail)


def describe_death(exit_code: int) -> str:
    """Return in a clause how a worker died.

    Args:
        exit_code: minus the number of the signal that ended it.
    """
    return f"its worker {_killed(exit_code)}"


def describe_chat_exit(exit_code: int, tail: str) -> str:
    """Return the error of a chat whose process ended in the middle of it; the arguments are those of a worker's."""
    how = f"ended with exit code {exit_code}" if exit_code >= 0 else _killed(exit_code)
    return f"The process that answers chats {how}; the next chat starts another." + shown_log(tail)


def describe_check_exit(exit_code: int) -> str:
    """Return the error of an upload whose check ended without a result; the code is as for a worker's."""
    how = f"ended with exit code {exit_code}; the backend's log says more" if exit_code >= 0 else _killed(exit_code)
    return f"The rows could not be checked: the process that checks them {how}. Upload them again."


def describe_preview_exit(exit_code: int) -> str:
    """Return the error of a preview whose process ended without a result; the code is as for a worker's."""
    how = f"ended with exit code {exit_code}; the backend's log says more" if exit_code >= 0 else _killed(exit_code)
    return f"The rows could not be looked through: the process that does it {how}. Try again, or take fewer rows."


def shown_log(tail: str) -> str:
    """Return the end of a process's log, to stand after a sentence about its end."""
    return f"\nThe end of its log:\n{tail}" if tail else "\nIts log is empty."


def _killed(exit_code: int) -> str:
    try:
        name = signal.Signals(-exit_code).name
    except ValueError:
        name = str(-exit_code)
    hint = " (often: out of memory)" if name == "SIGKILL" else ""
    return f"was killed by signal {name}{hint}"

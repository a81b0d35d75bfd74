"""Parts that a test needs and a machine may lack: there it is skipped, but in CI it fails."""

from __future__ import annotations

import os

import pytest

IN_CI = os.environ.get("CI") == "true"  # of the real environment: a test may change it


def need(is_there: bool, reason: str, *, is_wanted: bool = IN_CI) -> None:
    """Skip a test without a part of the machine, or fail it where the part is wanted.

    Args:
        is_there: whether the machine has it.
        reason: what is missing, and what installs it.
        is_wanted: whether this run is to have it.
    """
    if not is_there:
        (pytest.fail if is_wanted else pytest.skip)(reason)

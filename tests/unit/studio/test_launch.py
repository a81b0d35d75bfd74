"""The end of a launch of Studio, as far as it needs no server."""

from __future__ import annotations

from unittest import mock

import pytest

from arkor.studio import launch
from arkor.studio.state import Studio


@pytest.mark.parametrize(("local", "flag"), [(False, ""), (True, " --local")])
def test_the_command_that_follows_a_job_reaches_its_backend(local: bool, flag: str) -> None:
    """It is told with the option that Studio had."""
    said: list[str] = []
    studio = mock.create_autospec(Studio, instance=True, local=local)
    studio.runs = mock.Mock()
    studio.runs.close.return_value.job_id = "job_1"
    launch._end_run(studio, said.append)
    assert said == [f"Job job_1 keeps running. Follow it with: arkor attach job_1{flag}"]

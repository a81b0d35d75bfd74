"""The options of a trainer that do not travel, checked before anything else happens."""

from __future__ import annotations

import pytest

import arkor


@pytest.mark.parametrize("backend", ["locl", "ftp://host", "//host", ""])
def test_a_backend_that_is_no_address_is_refused_at_once(backend: str) -> None:
    """Not when the job is submitted: the line that is wrong is the one in the traceback."""
    with pytest.raises(arkor.ConfigError, match="is neither 'local' nor an http") as raised:
        arkor.Trainer.attach("job_1", backend=backend)
    assert raised.value.field == "backend"


@pytest.mark.parametrize("backend", [None, "local", "local/", "http://127.0.0.1:4747", "https://arkor.example/"])
def test_a_backend_may_be_an_address_or_local(backend: str | None) -> None:
    """Or be left to the environment."""
    assert arkor.Trainer.attach("job_1", backend=backend).backend == backend

"""What ``import_adapter`` refuses before anything is sent, and what it says of a backend that imports nothing."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import pytest

from arkor import Aborted, ConfigError, UnknownOption, UnsupportedByBackend, import_adapter
from tests.support.cloud import Cloud
from tests.support.elsewhere import write_adapter


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"source": ""}, "source: must be a folder or owner/name"),
        ({"source": 3}, "source: must be a folder or owner/name"),
        ({"name": ""}, "name: must be a text of 1 to 200 characters"),
        ({"name": "x" * 201}, "name: must be a text of 1 to 200 characters"),
        ({"model": " "}, "model: must be a text of 1 to 2000 characters"),
        ({"revision": 1}, "revision: must be a text of 1 to 2000 characters"),
        ({"timeout": 0}, "timeout: must be above 0 seconds, not 0"),
        ({"backend": "nowhere"}, "backend: 'nowhere' is neither 'local' nor an http"),
        ({"abort_event": True}, r"abort_event: must be a threading\.Event"),
    ],
)
def test_an_argument_out_of_its_range_is_named(
    cloud: Cloud, tmp_path: Path, options: dict[str, Any], says: str
) -> None:
    """Nothing was sent."""
    given = {"source": write_adapter(tmp_path / "lora"), "backend": cloud.url, **options}
    with pytest.raises(ConfigError, match=says):
        import_adapter(given.pop("source"), **given)
    assert cloud.requests == []


def test_a_misspelt_argument_is_answered_with_the_right_one(tmp_path: Path) -> None:
    """As everywhere."""
    misspelt: dict[str, Any] = {"modell": "smollm2-135m"}
    with pytest.raises(UnknownOption, match="did you mean model"):
        import_adapter(write_adapter(tmp_path / "lora"), **misspelt)


def test_a_backend_that_imports_nothing_is_named(cloud: Cloud, tmp_path: Path) -> None:
    """Before anything is made there, a project neither."""
    with pytest.raises(UnsupportedByBackend, match="importing an adapter"):
        import_adapter(write_adapter(tmp_path / "lora"), backend=cloud.url, project_dir=tmp_path)
    assert not any("projects" in request.path for request in cloud.requests)


def test_an_adapter_that_names_no_base_model_needs_one(cloud: Cloud, tmp_path: Path) -> None:
    """The backend cannot guess it."""
    cloud.features = {"import"}
    with pytest.raises(ConfigError, match=r"model: is missing: adapter_config\.json of lora names no base model"):
        import_adapter(write_adapter(tmp_path / "lora", None), backend=cloud.url, project_dir=tmp_path)


def test_the_abort_event_ends_it(cloud: Cloud, tmp_path: Path) -> None:
    """At once."""
    event = threading.Event()
    event.set()
    with pytest.raises(Aborted):
        import_adapter(write_adapter(tmp_path / "lora"), backend=cloud.url, project_dir=tmp_path, abort_event=event)
    assert cloud.requests == []

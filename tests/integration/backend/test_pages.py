"""Lists in pages: every item once, in an order that stays, whatever is added or deleted meanwhile."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests

from tests.support.backend import BackendProcess, Client


@pytest.fixture
def ids(client: Client, shared: BackendProcess, config: dict[str, Any]) -> Iterator[list[str]]:
    """Five jobs, the newest first, that wait behind a job of another project."""
    other = shared.client()
    gate = other.submit("gated:1", config).json()["job"]["id"]
    made = [client.submit(f"complete:{number}", config).json()["job"]["id"] for number in range(1, 6)]
    yield made[::-1]
    shared.allow(gate, 1)
    other.events(gate)


def ask(client: Client, path: str, **query: Any) -> requests.Response:
    """Ask for a page."""
    return client.get(path, params={**client.scope, **query})


def pages(client: Client, path: str, name: str, limit: int, between: Callable[[], object] = lambda: None) -> list[Any]:
    """Read a list page by page."""
    found, query = [], {"limit": limit}
    while True:
        body = ask(client, path, **query).json()
        assert len(body[name]) <= limit
        found += body[name]
        if "next" not in body:
            return found
        query = {"limit": limit, "after": body["next"]}
        between()


@pytest.mark.parametrize("limit", [1, 2, 4, 5, 6, 1000])
def test_pages_are_the_list(client: Client, ids: list[str], limit: int) -> None:
    """In the same order, the last page with no next."""
    whole = client.get("/v1/jobs").json()
    assert "next" not in whole
    assert [job["id"] for job in whole["jobs"]] == ids
    assert pages(client, "/v1/jobs", "jobs", limit) == whole["jobs"]


def test_jobs_that_come_and_go_meanwhile_change_no_other_page(
    client: Client, ids: list[str], config: dict[str, Any]
) -> None:
    """A new job is before the first page; the job that a page ended with may be deleted."""

    def between() -> None:
        client.submit("complete:1", config)
        client.cancel(ids[1])
        client.request("DELETE", f"/v1/jobs/{ids[1]}")

    assert [job["id"] for job in pages(client, "/v1/jobs", "jobs", 2, between)] == ids


def test_projects_and_artifacts_have_pages_too(client: Client, config: dict[str, Any]) -> None:
    """The oldest project first; checkpoints by step, the final adapter last."""
    for name in ("b", "a"):
        assert client.request("POST", "/v1/projects", json={"name": name, "slug": name}).status_code == 201
    assert [project["slug"] for project in pages(client, "/v1/projects", "projects", 2)] == ["tests", "b", "a"]
    assert "org" in ask(client, "/v1/projects", limit=1).json()
    job_id = client.submit("complete:4", {**config, "saveSteps": 2}).json()["job"]["id"]
    client.events(job_id)
    names = [artifact["name"] for artifact in pages(client, f"/v1/jobs/{job_id}/artifacts", "artifacts", 1)]
    assert names == ["checkpoint-2", "checkpoint-4", "adapter"]


@pytest.mark.parametrize("limit", ["0", "1001", "-1", "x", "", "1.0", "9" * 5000])
def test_a_limit_out_of_its_range_is_400(client: Client, limit: str) -> None:
    """The text says the range."""
    answer = ask(client, "/v1/jobs", limit=limit)
    assert (answer.status_code, "1 to 1000" in answer.json()["error"]) == (400, True)


def test_a_cursor_of_no_page_is_400(client: Client, config: dict[str, Any]) -> None:
    """For every list."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.events(job_id)
    for path in ("/v1/jobs", "/v1/projects", f"/v1/jobs/{job_id}/artifacts"):
        for after in ("", "nonsense"):
            assert ask(client, path, after=after).status_code == 400

"""The events of a job that are stored: handed out in order, some thousands in an answer."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from arkor.backend.backend import Backend
from arkor.backend.routes import stream
from arkor.backend.store.events import NewEvent, append
from arkor.backend.store.jobs import NewJob
from tests.support.databases import open_for

NOTE = "größer"
CLIENT = {"X-Arkor-Client": "arkor/0"}


class Reader:
    """Somebody who asks for the events of a new job, of which five were logged.

    Attributes:
        job_id: the job's id.
    """

    def __init__(self, backend: Backend, http: FlaskClient) -> None:
        token, identity = backend.store.tenants.create_anonymous("cli")
        project = backend.store.tenants.create_project(identity.org, "p", "P")
        assert project is not None
        job, _ = backend.store.jobs.create(project, NewJob(name="run", config={}), {"datasetSource": {"type": "blob"}})
        database = open_for(backend.settings.data)
        with database.write() as connection:
            for step in range(1, 6):
                append(connection, job.id, [NewEvent("training.log", {"step": step, "loss": step / 3, "note": NOTE})])
        database.close()
        self.job_id = job.id
        self._http = http
        self._scope = {"orgSlug": identity.org.slug, "projectSlug": "p"}
        self._headers = {**CLIENT, "Authorization": f"Bearer {token}"}

    def get(self, job_id: str | None = None, **query: str) -> Any:
        """Return the answer's JSON."""
        path = f"/v1/jobs/{job_id or self.job_id}/events"
        return self._http.get(path, query_string={**self._scope, **query}, headers=self._headers).get_json()


@pytest.fixture
def reader(backend: Backend, http: FlaskClient) -> Reader:
    return Reader(backend, http)


def test_events_come_in_order_with_their_ids(reader: Reader) -> None:
    """Each as its stream sends it; behind the last there is nothing."""
    answer = reader.get()
    assert [event_id for event_id, _ in answer["events"]] == ["1", "2", "3", "4", "5"]
    body = answer["events"][2][1]
    assert (body["type"], body["jobId"], body["step"], body["note"]) == ("training.log", reader.job_id, 3, "größer")
    assert answer["more"] is False
    assert reader.get(after="5") == {"events": [], "more": False}


def test_what_does_not_fit_into_an_answer_is_said(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """And is asked for behind the last of them."""
    monkeypatch.setattr(stream, "_MOST_EVENTS", 3)
    first, rest = reader.get(), reader.get(after="3")
    assert [(len(answer["events"]), answer["more"]) for answer in (first, rest)] == [(3, True), (2, False)]
    assert [event_id for event_id, _ in rest["events"]] == ["4", "5"]
    assert reader.get(after="2")["more"] is False


def test_figures_come_as_rows_beside_the_last_events(reader: Reader, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exactly as they were told, in the order of the client's columns; what was not told is null."""
    monkeypatch.setattr(stream, "_MOST_FIGURES", 4)
    monkeypatch.setattr(stream, "_LAST_EVENTS", 2)
    answer = reader.get(figures="true")
    assert [row[:3] for row in answer["figures"]] == [[step, step / 3, None] for step in range(1, 5)]
    assert all(
        row[6] == body["timestamp"] for row, (_, body) in zip(answer["figures"][2:], answer["events"], strict=True)
    )
    assert ([event_id for event_id, _ in answer["events"]], answer["more"]) == (["3", "4"], True)
    rest = reader.get(figures="true", after="4")
    assert ([row[0] for row in rest["figures"]], len(rest["events"]), rest["more"]) == ([5], 1, False)
    assert reader.get(figures="true", after="5") == {"figures": [], "events": [], "more": False}


def test_figures_are_those_that_the_request_names(reader: Reader) -> None:
    """In its order; a name that no event has is null in every row, so that newer clients can ask older backends."""
    answer = reader.get(figures="true", columns="note,step,nosuchmetric")
    assert [row[1:] for row in answer["figures"]] == [[step, None] for step in range(1, 6)]
    assert answer["figures"][2][0] == "größer"


@pytest.mark.parametrize("columns", ["", "step", "step,", "step,a b", "step,$.x", "step,a.b", ",".join(["a"] * 41)])
def test_columns_that_cannot_be_names_are_refused(reader: Reader, columns: str) -> None:
    """A name becomes a path in the database."""
    assert reader.get(figures="true", columns=columns)["error"].startswith("columns must be 2 to 40 names of fields")


@pytest.mark.parametrize("after", ["x", "-1", "1.5", "٣", "9" * 30])
def test_what_is_no_id_is_refused(reader: Reader, after: str) -> None:
    """Rather than read from anywhere."""
    assert reader.get(after=after)["error"].startswith("after must be the id of an event of this job")


def test_a_job_of_nobody_has_no_events(reader: Reader) -> None:
    """As everywhere."""
    assert "There is no job 'job_x'" in reader.get("job_x")["error"]

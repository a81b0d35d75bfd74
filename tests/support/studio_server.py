"""Studio's server in this process, where a test can look into it, and plain HTTP to it."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import requests
from flask.testing import FlaskClient

from arkor.studio.app import create_app
from arkor.studio.httpserver import create_server
from arkor.studio.state import Studio

TIMEOUT_S = 15.0


class Served:
    """A Studio of the working directory, and a browser's side of it.

    Attributes:
        studio: its parts.
        url: its address.
    """

    def __init__(self, studio: Studio, port: int) -> None:
        self.studio = studio
        self.url = f"http://127.0.0.1:{port}"

    def request(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request with the token."""
        headers = {"X-Arkor-Studio-Token": self.studio.token, **arguments.pop("headers", {})}
        arguments.setdefault("timeout", TIMEOUT_S)
        return requests.request(method, self.url + path, headers=headers, **arguments)

    def get(self, path: str, **arguments: Any) -> requests.Response:
        """GET."""
        return self.request("GET", path, **arguments)

    def post(self, path: str, body: Any = None, **arguments: Any) -> requests.Response:
        """POST a JSON body."""
        return self.request("POST", path, json={} if body is None else body, **arguments)

    def events(self, job_id: str, **arguments: Any) -> EventSource:
        """Open a job's events."""
        return EventSource(self.get(f"/api/jobs/{job_id}/events", stream=True, **arguments))


class EventSource:
    """An open event stream: iterate over (id, event, data)."""

    def __init__(self, response: requests.Response) -> None:
        self.response = response

    def __iter__(self) -> Iterator[tuple[str | None, str, Any]]:
        buffer = b""
        while chunk := self.response.raw.read1(65536):
            buffer += chunk
            *blocks, buffer = buffer.split(b"\n\n")
            for block in blocks:
                fields = dict(line.split(": ", 1) for line in block.decode().splitlines())
                yield fields.get("id"), fields["event"], json.loads(fields["data"])

    def until(self, *events: str) -> list[tuple[str | None, str, Any]]:
        """Read up to and including the first of these events; return all but pings."""
        seen = []
        for frame in self:
            if frame[1] != "ping" or "ping" in events:
                seen.append(frame)
            if frame[1] in events:
                return seen
        raise AssertionError(f"the stream ended before {events}: {seen}")

    def close(self) -> None:
        """Leave."""
        self.response.close()


def api(studio: Studio) -> FlaskClient:
    """Return a page's side of the API of a Studio, without a network between."""
    page = create_app(studio).test_client()
    page.environ_base["HTTP_X_ARKOR_STUDIO_TOKEN"] = studio.token
    return page


@contextmanager
def served(*, local: bool = False, ping_s: float = 5.0) -> Iterator[Served]:
    """Serve a Studio of the working directory on a free port inside the block."""
    studio = Studio.of(Path.cwd(), local=local)
    studio.ping_s = ping_s
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        bound.listen()
        port = bound.getsockname()[1]
        http = create_server(create_app(studio), bound)
        http.start()
        try:
            yield Served(studio, port)
        finally:
            studio.stopping.set()
            http.stop()

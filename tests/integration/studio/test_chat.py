"""The page's questions to a model: they and their answers go through as they are, and nobody answers for nobody."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from urllib.parse import urlsplit

import pytest

pytest.importorskip("plotly")

from tests.support.cloud import Cloud
from tests.support.contract import Answer, Stream
from tests.support.events import DONE, chunk
from tests.support.eventually import eventually
from tests.support.studio_server import TIMEOUT_S, Served, served

CHAT = "/api/inference/chat"
QUESTION = {"messages": [{"role": "user", "content": "größer?"}], "baseModel": "m", "top_p": 0.5, "unknown": [1, None]}


@pytest.fixture
def page(routed_cloud: Cloud) -> Iterator[Served]:
    """Studio's server."""
    with served() as one:
        yield one


def threads_of_ours() -> list[str]:
    """Return the threads that look after answers under way."""
    return [thread.name for thread in threading.enumerate() if thread.name.startswith("arkor")]


@contextmanager
def leaving(page: Served, path: str, body: object) -> Iterator[None]:
    """Send a request, and leave after the block, whatever has come by then."""
    connection = HTTPConnection(urlsplit(page.url).netloc, timeout=TIMEOUT_S)
    headers = {"X-Arkor-Studio-Token": page.studio.token, "Content-Type": "application/json"}
    connection.request("POST", path, json.dumps(body), headers)
    yield
    connection.close()


def test_a_question_goes_up_as_it_is_and_the_answer_comes_down_as_it_is(routed_cloud: Cloud, page: Served) -> None:
    """Fields that Studio does not know included."""
    frames = [chunk("So"), b": a sign of life\n\n", chunk("rry"), DONE]
    routed_cloud.says(Stream(frames=frames))
    answer = page.post(CHAT, QUESTION)
    assert (answer.status_code, answer.content) == (200, b"".join(frames))
    assert answer.headers["Content-Type"].startswith("text/event-stream")
    assert routed_cloud.calls("POST", "/v1/inference/chat")[0].json() == QUESTION


def test_an_answer_comes_as_it_is_made(routed_cloud: Cloud, page: Served) -> None:
    """Not at its end."""
    gate = threading.Event()
    routed_cloud.says(Stream(frames=[chunk("So")], gate=gate))
    with page.post(CHAT, QUESTION, stream=True) as answer:
        assert answer.raw.read1(1000) == chunk("So")
        gate.set()


def test_an_answer_in_one_piece_comes_through(routed_cloud: Cloud, page: Served) -> None:
    """As JSON, with the status that it has."""
    routed_cloud.says(Answer(body={"choices": []}), Answer(status=409, body={"error": "The adapter is not there yet"}))
    whole = page.post(CHAT, {**QUESTION, "stream": False})
    assert (whole.status_code, whole.json()) == (200, {"choices": []})
    refused = page.post(CHAT, QUESTION)
    assert (refused.status_code, refused.json()) == (409, {"error": "The adapter is not there yet"})


def test_an_answer_that_is_cut_says_so(routed_cloud: Cloud, page: Served) -> None:
    """As one that failed does, also in the middle of a frame; one that failed comes through."""
    failed = b'data: {"error": {"message": "out of memory"}}\n\n'
    routed_cloud.says(Stream(frames=[chunk("So"), failed]))
    assert page.post(CHAT, QUESTION).content == chunk("So") + failed
    routed_cloud.says(Stream(frames=[chunk("So"), chunk("rry")], cut=len(chunk("So")) + 10, chunked=True))
    *_, last = page.post(CHAT, QUESTION).content.strip().split(b"\n\n")
    assert "cut" in json.loads(last.removeprefix(b"data: "))["error"]["message"]


def test_a_browser_that_leaves_ends_its_answer_at_the_backend(routed_cloud: Cloud, page: Served) -> None:
    """Also while the backend is silent: before it has answered at all, before its first word, and after it."""
    silence = threading.Event()
    routed_cloud.says(*[Stream(frames=frames, gate=silence) for frames in ([chunk("So")], [])], Answer(gate=silence))
    with page.post(CHAT, QUESTION, stream=True) as answer:
        assert answer.raw.read1(1000) == chunk("So")
    eventually(lambda: not threads_of_ours(), "nothing is read for it any more")
    page.post(CHAT, QUESTION, stream=True).close()
    eventually(lambda: not threads_of_ours(), "nothing is read for it any more")
    with leaving(page, CHAT, QUESTION):
        eventually(lambda: len(routed_cloud.calls("POST", "/v1/inference/chat")) == 3, "the backend is asked")
    eventually(lambda: not threads_of_ours(), "nothing is read for it any more")


@pytest.mark.parametrize("body", [b"[]", b"{", b"", b"\xff", b"[" * 5000, b"9" * 5000, rb'{"x": "\ud83d"}'])
def test_a_question_has_to_be_an_object(routed_cloud: Cloud, page: Served, body: bytes) -> None:
    """The backend is not asked."""
    answer = page.request("POST", CHAT, data=body, headers={"Content-Type": "application/json"})
    assert (answer.status_code, len(answer.json()["error"].splitlines())) == (400, 1)
    assert routed_cloud.calls("POST", "/v1/inference/chat") == []

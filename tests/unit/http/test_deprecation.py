"""What a backend gives notice of: read from any answer, remembered, handed on, and never a fault of the request."""

from __future__ import annotations

import contextlib
import logging
import threading
from collections.abc import Iterator
from datetime import datetime, timezone

import pytest
from hypothesis import given, strategies as st
from requests.structures import CaseInsensitiveDict

import arkor
from arkor.errors import NotFound
from arkor.http import deprecation
from arkor.http.deprecation import Notice, last_notice, on_notice, read_notice
from arkor.http.transport import Transport
from tests.support.cloud import Cloud
from tests.support.contract import Answer

ME = "/v1/me"
SUNSET = "Thu, 31 Dec 2026 23:59:59 GMT"
UPGRADE = "Upgrade with: pip install --upgrade arkor"
NEW_YEAR = datetime(2026, 12, 31, 23, 59, 59, tzinfo=timezone.utc)


@pytest.fixture(autouse=True)
def _installed_by_pip(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deprecation, "upgrade_command", lambda: "pip install --upgrade arkor")


@pytest.fixture
def known(cloud: Cloud) -> Iterator[Transport]:
    """A transport whose token the stand-in accepts."""
    cloud.know("secret", "org")
    transport = Transport(cloud.url, "secret")
    yield transport
    transport.close()


def read(**headers: str) -> Notice | None:
    """Return the notice of an answer with these headers."""
    return read_notice(CaseInsensitiveDict(headers), "api.example.com")


def notice(**fields: object) -> Notice:
    """Return a notice of the same backend."""
    return Notice(backend="api.example.com", **fields)  # type: ignore[arg-type]


# Reading


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ({"Deprecation": "true"}, notice(deprecated=True)),
        ({"deprecation": " TRUE "}, notice(deprecated=True)),
        ({"Deprecation": "@0"}, notice(deprecated=True, since=datetime(1970, 1, 1, tzinfo=timezone.utc))),
        (
            {"Deprecation": "@1688169599"},
            notice(deprecated=True, since=datetime(2023, 6, 30, 23, 59, 59, tzinfo=timezone.utc)),
        ),
        ({"Warning": '299 - "v1 goes away"'}, notice(text="v1 goes away")),
        ({"Warning": '299 api.example.com "a" "Thu, 31 Dec 2026 23:59:59 GMT"'}, notice(text="a")),
        ({"Warning": '110 - "stale", 299 - "one",299 - "two"'}, notice(text="one two")),
        ({"Warning": '299 - "say \\"hello\\", 299 - \\\\ again"'}, notice(text='say "hello", 299 - \\ again')),
        ({"Warning": '299 - "' + "größer".encode().decode("latin-1") + '"'}, notice(text="größer")),
        ({"Warning": '299 - "gr\xf6\xdfer"'}, notice(text="größer")),
        ({"Sunset": SUNSET}, notice(sunset=NEW_YEAR)),
        ({"Sunset": "Thu, 31 Dec 2026 23:59:59 -0000"}, notice(sunset=NEW_YEAR)),
        (
            {"Deprecation": "true", "Warning": '299 - "v1 goes away"', "Sunset": SUNSET},
            notice(deprecated=True, text="v1 goes away", sunset=NEW_YEAR),
        ),
        ({"Deprecation": "soon", "Warning": "299 nothing", "Sunset": SUNSET}, notice(sunset=NEW_YEAR)),
    ],
    ids=range(14),
)
def test_a_notice_is_read_from_its_headers(headers: dict[str, str], expected: Notice) -> None:
    """Whichever of the three there are; a malformed one spoils no other."""
    assert read(**headers) == expected


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Deprecation": ""},
        {"Deprecation": "false"},
        {"Deprecation": "true, true"},
        {"Deprecation": "@"},
        {"Deprecation": "@1.5"},
        {"Deprecation": "@999999999999"},
        {"Deprecation": "@" + "9" * 5000},
        {"Deprecation": "@\u0661"},
        {"Sunset": "tomorrow"},
        {"Sunset": "2026-12-31"},
        {"Sunset": "Thu, 99 Dec 2026 23:59:59 GMT"},
        {"Sunset": "Thu, 31 Dec 99999 23:59:59 GMT"},
        {"Warning": ""},
        {"Warning": '199 - "stale"'},
        {"Warning": '299 - ""'},
        {"Warning": '299 - "\x1b\x07 "'},
        {"Warning": '299 - "no end'},
        {"Warning": '299 - "one" rubbish'},
        {"Warning": '110 - "299 - \\"hidden\\""'},
        {"Warning": "299 - words"},
    ],
    ids=range(21),
)
def test_what_is_malformed_counts_as_absent(headers: dict[str, str]) -> None:
    """Nothing is guessed."""
    assert read(**headers) is None


@given(
    st.fixed_dictionaries(
        {},
        optional={
            "Deprecation": st.text() | st.from_regex(r"@-?\d*"),
            "Sunset": st.text() | st.from_regex(r"[A-Z][a-z]{2}, \d+ [A-Z][a-z]{2} \d+ \d+:\d+:\d+ .*"),
            "Warning": st.text() | st.from_regex(r'299 - ".*"'),
        },
    )
)
def test_whatever_headers_hold_nothing_fails_and_nothing_harms(headers: dict[str, str]) -> None:
    """What is shown of it is one line of printable characters."""
    found = read(**headers)
    assert found is None or str(found).isprintable()


# Showing


@pytest.mark.parametrize(
    ("shown", "text"),
    [
        (notice(text="Tea is ready."), "Notice from api.example.com: Tea is ready."),
        (
            notice(deprecated=True),
            "Notice from api.example.com: What this version of arkor asks for is deprecated. " + UPGRADE,
        ),
        (
            notice(deprecated=True, text="v1 goes away.", sunset=NEW_YEAR),
            "Notice from api.example.com: v1 goes away. It stops working on 2026-12-31. " + UPGRADE,
        ),
    ],
    ids=range(3),
)
def test_a_notice_says_what_goes_away_and_what_to_do(shown: Notice, text: str) -> None:
    """How to upgrade only where that may help."""
    assert str(shown) == text


# Remembering


def test_any_answer_may_carry_one(cloud: Cloud, known: Transport) -> None:
    """Also an error, and a stream; the last one wins."""
    assert last_notice() is None
    answers = [
        (Answer(body={}, headers={"Deprecation": "true", "Warning": '299 - "one"'}), False),
        (Answer(status=404, headers={"Warning": '299 - "two"'}), False),
        (Answer(body=b"data: 1\n\n", headers={"Sunset": SUNSET}), True),
        (Answer(body={}), False),
    ]
    seen = []
    for answer, stream in answers:
        cloud.answer("GET", ME, answer)
        with contextlib.suppress(NotFound):
            known.send("GET", ME, stream=stream).close()
        seen.append(last_notice())
    host = cloud.url.removeprefix("http://")
    third = Notice(backend=host, sunset=NEW_YEAR)
    assert seen == [
        Notice(backend=host, deprecated=True, text="one"),
        Notice(backend=host, text="two"),
        third,
        third,
    ]
    assert arkor.last_notice() == third


def test_a_handler_hears_of_each_notice_once(cloud: Cloud, known: Transport) -> None:
    """As it arrives, on the thread of the request; until another handler takes its place."""
    heard: list[tuple[str, threading.Thread]] = []
    on_notice(lambda notice: heard.append((notice.text, threading.current_thread())))
    for text in ("one", "one", "two"):
        cloud.answer("GET", ME, Answer(body={}, headers={"Warning": f'299 - "{text}"'}))
        known.send("GET", ME)
    assert heard == [("one", threading.current_thread()), ("two", threading.current_thread())]
    on_notice(None)
    cloud.answer("GET", ME, Answer(body={}, headers={"Warning": '299 - "three"'}))
    known.send("GET", ME)
    assert len(heard) == 2


def test_a_handler_that_fails_does_not_fail_the_request(
    cloud: Cloud, known: Transport, caplog: pytest.LogCaptureFixture
) -> None:
    """It is logged at DEBUG, and the notice is remembered."""
    caplog.set_level(logging.DEBUG, deprecation.__name__)
    on_notice(lambda _: 1 // 0)
    cloud.answer("GET", ME, Answer(body={}, headers={"Warning": '299 - "one"'}))
    assert known.send("GET", ME).status_code == 200
    assert getattr(last_notice(), "text", None) == "one"
    (failed,) = [record for record in caplog.records if record.levelno == logging.DEBUG]
    assert failed.exc_info is not None
    assert failed.exc_info[0] is ZeroDivisionError


def test_ctrl_c_in_a_handler_is_ctrl_c(cloud: Cloud, known: Transport) -> None:
    """It is not a handler's fault."""

    def interrupt(_: Notice) -> None:
        raise KeyboardInterrupt

    on_notice(interrupt)
    cloud.answer("GET", ME, Answer(body={}, headers={"Warning": '299 - "one"'}))
    with pytest.raises(KeyboardInterrupt):
        known.send("GET", ME)


def test_a_notice_is_logged_once(cloud: Cloud, known: Transport, caplog: pytest.LogCaptureFixture) -> None:
    """As a warning, for programs without a handler; without the token."""
    for _ in range(3):
        cloud.answer("GET", ME, Answer(body={}, headers={"Warning": '299 - "one"'}))
        known.send("GET", ME)
    (record,) = [record for record in caplog.records if record.name == deprecation.__name__]
    assert (record.levelname, "one" in record.getMessage()) == ("WARNING", True)
    assert "secret" not in caplog.text


def test_many_threads_may_learn_of_notices_at_once() -> None:
    """Every one that differs from the one before is handed on; the last that was handed on is remembered."""
    heard: list[Notice] = []
    on_notice(heard.append)
    met = threading.Barrier(8)

    def run(number: int) -> None:
        met.wait()
        for step in range(200):
            deprecation.remember({"Warning": f'299 - "{number} {step % 3}"'}, "api.example.com")

    threads = [threading.Thread(target=run, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(heard) >= 8
    assert {item.text.split()[0] for item in heard} == set("01234567")
    assert last_notice() in heard


def test_the_headers_of_a_notice_can_be_caught_where_the_request_is_made(cloud: Cloud, known: Transport) -> None:
    """As they came, those of the last notice; an answer without one, and another thread's, change nothing."""
    headers = {"Deprecation": "true", "Warning": '299 - "Old"', "Sunset": SUNSET}
    cloud.answer("GET", ME, Answer(body={}, headers=headers))
    found: dict[str, str] = {}
    with deprecation.headers_into(found):
        known.send("GET", ME)
        known.send("GET", ME)
        cloud.answer("GET", ME, Answer(body={}, headers={"Warning": '299 - "Elsewhere"'}))
        thread = threading.Thread(target=known.send, args=("GET", ME))
        thread.start()
        thread.join()
    assert found == headers

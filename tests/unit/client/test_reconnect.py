"""Requests that outlast an absence of the backend: which failures pass, and how long is waited between two tries."""

from __future__ import annotations

from collections.abc import Callable

import pytest
import requests

from arkor.client.reconnect import is_away, may_ask_again, until_answered
from arkor.client.stream import ReconnectPolicy
from arkor.errors import (
    ConnectionFailed,
    LocalBackendError,
    NotFound,
    ReconnectExhausted,
    WaitTimeout,
    error_for_status,
)
from arkor.http.abort import AbortScope, Deadline
from arkor.http.translate import translated


class Scope(AbortScope):
    """Notes how long it was to wait, and does not."""

    def __init__(self) -> None:
        super().__init__(None)
        self.pauses: list[float] = []

    def pause(self, seconds: float) -> None:
        self.pauses.append(seconds)


def no_answer(cause: Exception) -> ConnectionFailed:
    """Return the error of a request that failed in requests."""
    with pytest.raises(ConnectionFailed) as raised, translated("http://backend"):
        raise cause
    return raised.value


def answers(*outcomes: Exception | str) -> Callable[[], str]:
    """Return what answers in this way, one after the other."""
    left = list(outcomes)

    def ask() -> str:
        outcome = left.pop(0)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return ask


@pytest.mark.parametrize(
    ("failure", "away", "again"),
    [
        (no_answer(requests.ConnectionError("refused")), True, True),
        (no_answer(requests.ReadTimeout("slow")), True, False),
        (error_for_status(503, "stopping", 5.0), True, True),
        (error_for_status(429, "busy", 1.0), True, True),
        (error_for_status(503, "not enough memory"), True, False),
        (error_for_status(502, "a proxy"), True, False),
        (error_for_status(404, "no such job"), False, False),
        (error_for_status(401, "who are you"), False, False),
        (ValueError("a fault"), False, False),
    ],
)
def test_failures_that_may_pass(failure: Exception, away: bool, again: bool) -> None:
    """A question to a model is asked again in fewer cases: each costs the backend an answer."""
    assert (is_away(failure), may_ask_again(failure)) == (away, again)


def test_the_delays_are_those_of_the_policy() -> None:
    """Doubled with each failure, as long as the backend does not say when to come back."""
    scope, down = Scope(), ConnectionFailed("no answer")
    ask = answers(down, down, error_for_status(503, "stopping", 5.0), error_for_status(503, "stopping", 500.0), "here")
    policy = ReconnectPolicy(base_delay=1.0, max_delay=60.0)
    assert until_answered(ask, policy=policy, limits=scope, check_alive=lambda: None) == "here"
    first, second, *asked = scope.pauses
    assert 0.75 <= first <= 1.25
    assert 1.5 <= second <= 2.5
    assert asked == [5.0, 60.0]


def test_what_no_try_can_mend_is_raised() -> None:
    """A refusal, a backend that never comes back, and the limit of the policy."""
    scope, policy, down = Scope(), ReconnectPolicy(max_attempts=1), ConnectionFailed("no answer")

    def gone() -> None:
        raise LocalBackendError("gone")

    with pytest.raises(NotFound):
        until_answered(answers(NotFound(404, "gone")), policy=policy, limits=scope, check_alive=lambda: None)
    with pytest.raises(LocalBackendError):
        until_answered(answers(down), policy=policy, limits=scope, check_alive=gone)
    with pytest.raises(ReconnectExhausted) as raised:
        until_answered(answers(down, down), policy=policy, limits=scope, check_alive=lambda: None)
    assert (raised.value.attempts, raised.value.__cause__) == (2, down)


def test_a_deadline_ends_it_even_without_a_delay() -> None:
    """It is not asked for ever."""
    ask, policy = answers(*[ConnectionFailed("no answer")] * 3), ReconnectPolicy(base_delay=0.0)
    with pytest.raises(WaitTimeout):
        until_answered(ask, policy=policy, limits=AbortScope(None, Deadline(0.0)), check_alive=lambda: None)

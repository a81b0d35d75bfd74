"""A request that outlasts an absence of the backend: it is made again until there is an answer.

Protocol: docs/protocol.md, "Reader rules" (Reconnecting).
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import requests
import tenacity

from arkor.client.stream import TELLING_FAILURE, ReconnectPolicy, is_refusal
from arkor.errors import CloudApiError, ConnectionFailed, ReconnectExhausted
from arkor.http.abort import AbortScope

T = TypeVar("T")

_BUSY = frozenset({429, 503})

logger = logging.getLogger(__name__)


def is_away(failure: BaseException) -> bool:
    """Say whether a request may succeed later for all that its failure says: no answer, 408, 429 or 5xx."""
    return isinstance(failure, ConnectionFailed) or (isinstance(failure, CloudApiError) and not is_refusal(failure))


def may_ask_again(failure: BaseException) -> bool:
    """Say whether a question to a model may be asked again: nobody heard it, or a 429 or 503 says when to come back.

    A model that did not answer in time would need as long again.
    """
    if isinstance(failure, ConnectionFailed):
        return not isinstance(failure.__cause__, requests.exceptions.ReadTimeout)
    return isinstance(failure, CloudApiError) and failure.status in _BUSY and failure.retry_after is not None


def until_answered(
    ask: Callable[[], T],
    *,
    policy: ReconnectPolicy,
    limits: AbortScope,
    check_alive: Callable[[], None],
    may_pass: Callable[[BaseException], bool] = is_away,
) -> T:
    """Make a request, and again while the backend is away.

    Args:
        ask: makes the request; doing it twice is the same as doing it once.
        policy: how long to wait between two tries, and how many failures in a row are borne.
        limits: end the waiting between two tries.
        check_alive: called when there was no answer; raises if there never will be one.
        may_pass: says of a failure whether to try again.

    Raises:
        Aborted, WaitTimeout: as ``limits`` say.
        ReconnectExhausted: the policy's limit is reached; its cause is the last failure.
        Whatever ``ask`` raises otherwise.

    Example:
        ``until_answered(lambda: client.get_job(scope, job_id), policy=ReconnectPolicy(), …)``
    """

    def attempt() -> T:
        try:
            return ask()
        except ConnectionFailed:
            check_alive()
            raise

    def wait(state: tenacity.RetryCallState) -> float:
        failure, failures = _failure(state), state.attempt_number
        asked_s = failure.retry_after if isinstance(failure, CloudApiError) else None
        delay = policy.delay(failures) if asked_s is None else min(asked_s, policy.max_delay)
        level = logging.WARNING if failures == TELLING_FAILURE else logging.INFO
        logger.log(level, "The backend is away; attempt %d in %.2f s: %s", failures + 1, delay, failure)
        return delay

    def pause(seconds: float) -> None:
        limits.check()
        limits.pause(seconds)

    def give_up(state: tenacity.RetryCallState) -> T:
        raise ReconnectExhausted(state.attempt_number) from _failure(state)

    retrying = tenacity.Retrying(
        retry=tenacity.retry_if_exception(may_pass),
        wait=wait,
        stop=lambda state: policy.max_attempts is not None and state.attempt_number > policy.max_attempts,
        retry_error_callback=give_up,
        sleep=pause,
    )
    return retrying(attempt)


def _failure(state: tenacity.RetryCallState) -> BaseException | None:
    return state.outcome.exception() if state.outcome else None

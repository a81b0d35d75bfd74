"""Blocking calls on several threads at the same time, which end together."""

from __future__ import annotations

import concurrent.futures
import threading
from collections.abc import Callable, Sequence
from typing import TypeVar

from arkor.http.abort import AbortScope, current_scope

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(work: Callable[[Item], Result], items: Sequence[Item], at_once: int) -> list[Result]:
    """Do the same blocking call for several items.

    The abort event and the deadline of this thread's active scope count for all calls. The first failure ends the
    other calls at once, and so does Ctrl-C.

    Args:
        work: called with each item, on any thread.
        items: there may be none.
        at_once: how many calls there are at the same time, at least 1.

    Returns:
        What the calls returned, in the order of the items.

    Raises:
        Aborted, WaitTimeout: as ``AbortScope.check`` does.
        Whatever ``work`` raises.

    Example:
        ``in_parallel(ask, questions, 8)``
    """
    outer = current_scope() or AbortScope(None)
    scopes: list[AbortScope] = []
    is_over = threading.Event()

    def one(item: Item) -> Result:
        with AbortScope(outer.event, outer.deadline) as scope, scope.active():
            scopes.append(scope)
            if is_over.is_set():
                scope.shut_down()
            with scope.noticing_the_end():
                scope.check()
                return work(item)

    with concurrent.futures.ThreadPoolExecutor(at_once, "arkor-parallel") as pool:
        futures = [pool.submit(one, item) for item in items]
        try:
            done, _ = concurrent.futures.wait(futures, return_when=concurrent.futures.FIRST_EXCEPTION)
            for future in futures:  # of several failures, that of the earliest item
                if future in done:
                    future.result()
            return [future.result() for future in futures]
        except BaseException:
            is_over.set()
            for future in futures:
                future.cancel()
            for scope in list(scopes):
                scope.shut_down()
            raise

"""Each process has its own, and all threads of one process have the same."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from arkor.system.forks import OwnToEachProcess
from tests.support.forks import Child

pytestmark = pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning")


def test_all_threads_of_a_process_get_the_same_one() -> None:
    """However many ask for the first time at once."""
    own: OwnToEachProcess[object] = OwnToEachProcess(object)
    barrier = threading.Barrier(8)

    def get(_: int) -> object:
        barrier.wait()
        return own.get()

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(get, range(8)))) == 1


def test_a_child_and_its_child_make_their_own() -> None:
    """And keep that of the parent, which is thus never closed there."""
    own: OwnToEachProcess[object] = OwnToEachProcess(object)
    parents = own.get()

    def in_child() -> list[bool]:
        childs = own.get()
        with Child(lambda: own.get() not in (parents, childs)) as grandchild:
            return [childs is parents, own.get() is childs, grandchild.outcome()]

    with Child(in_child) as child:
        assert child.outcome() == [False, True, True]
    assert own.get() is parents


def test_a_lock_that_a_thread_held_at_the_fork_is_free_in_the_child() -> None:
    """The thread that would release it is not there."""
    locks = OwnToEachProcess(threading.Lock)
    with locks.get(), Child(lambda: locks.get().acquire(timeout=0)) as child:
        assert child.outcome() is True

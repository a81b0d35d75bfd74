"""Trainers of a stand-in, what their callbacks are told, and waits in threads of their own."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import attrs

from arkor import Callbacks, HuggingFaceDataset, ReconnectPolicy, Trainer
from tests.support.contract import Contract

QUICK = ReconnectPolicy(base_delay=0.002, max_delay=0.02)
AT_ONCE_S = 5.0  # generous for a busy machine, and far below every timeout it stands against


class Told:
    """Callbacks that note what they are told, and then do what a test wants."""

    def __init__(self, then: Callable[[str, Any], object] = lambda name, context: None) -> None:
        self.contexts: list[tuple[str, Any]] = []
        self._then = then

    def callbacks(self) -> Callbacks:
        """Return all six callbacks."""
        names = ("started", "log", "checkpoint", "sample", "completed", "failed")
        return Callbacks(**{f"on_{name}": self._noting(name) for name in names})

    @property
    def names(self) -> list[tuple[str, int | None]]:
        """The callbacks that were called, in order, each with its step."""
        return [(name, getattr(context, "step", None)) for name, context in self.contexts]

    @property
    def news(self) -> list[tuple[str, dict[str, Any]]]:
        """The callbacks that were called, in order, each with all that it was told but the job."""
        return [(name, _news(context)) for name, context in self.contexts]

    def _noting(self, name: str) -> Callable[[Any], object]:
        def note(context: Any) -> object:
            self.contexts.append((name, context))
            return self._then(name, context)

        return note


def _news(context: Any) -> dict[str, Any]:
    return attrs.asdict(context, filter=lambda field, _: field.name not in {"job", "_ask"})


def make_trainer(backend: Contract, told: Told | None = None, **settings: Any) -> Trainer:
    """Return a trainer for a stand-in."""
    settings = {"name": "run", "model": "m", "dataset": HuggingFaceDataset("a/b"), "reconnect": QUICK, **settings}
    return Trainer(backend=backend.url, callbacks=told.callbacks() if told else None, **settings)


class Waiting:
    """A wait in a thread of its own."""

    def __init__(self, wait: Callable[[], Any]) -> None:
        self._wait = wait
        self._outcome: list[Any] = []
        # A daemon: a wait that goes on for ever must not hold up the report of it.
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._outcome.append(self._wait())
        except BaseException as exc:
            self._outcome.append(exc)

    def outcome(self, timeout_s: float = AT_ONCE_S) -> Any:
        """Return what the wait returned or raised; fail where it goes on for longer."""
        self._thread.join(timeout_s)
        assert self._outcome, f"still waiting after {timeout_s} s"
        return self._outcome[0]

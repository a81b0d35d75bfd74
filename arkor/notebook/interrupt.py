"""The Interrupt button of a notebook, as one line."""

from __future__ import annotations


class WaitInterrupted(KeyboardInterrupt):
    """A wait was interrupted by its user; its job goes on. IPython shows one line and no traceback.

    Example::

        try:
            trainer.wait()
        except KeyboardInterrupt:
            trainer.cancel()
    """

    def _render_traceback_(self) -> list[str]:
        return [str(self)]

"""The processes of an attempt, one for each device: they take the same steps, each with batches of its own.

The first one is the worker: it reports, saves and decides, and tells the others what it has decided. So each of them
does the same, as the exchange of gradients needs.
"""

from __future__ import annotations

import datetime
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import attrs

from arkor.backend.training_worker.stopping import Interrupted, StopReason

T = TypeVar("T")

# The end of another process is noticed otherwise, see ``others``; and the first one may take long to save or to score.
_PATIENCE = datetime.timedelta(days=7)
_LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"


@attrs.frozen
class Team:
    """The processes of an attempt, seen from one of them. Not thread-safe.

    Attributes:
        rank: the number of this one, from 0.
        size: how many there are.
    """

    rank: int = 0
    size: int = 1
    _group: Any = attrs.field(default=None, eq=False, repr=False)

    @property
    def is_first(self) -> bool:
        """Whether this is the process that reports and saves."""
        return self.rank == 0

    def told(self, value: T) -> T:
        """Return what the first process says; each has to call it.

        Args:
            value: of the first process; that of others is passed over.
        """
        if self.size == 1:
            return value
        import torch.distributed as dist

        said = [value]
        dist.broadcast_object_list(said, src=0, group=self._group)
        return said[0]

    def wait(self) -> None:
        """Wait until all of them have come this far."""
        if self.size > 1:
            import torch.distributed as dist

            dist.barrier(group=self._group)

    def check(self, reason: StopReason | None) -> None:
        """Stop all of them if the first one has to.

        Args:
            reason: why the first process has to stop, or None to go on.

        Raises:
            Interrupted: it has to.
        """
        reason = self.told(reason)
        if reason is not None:
            raise Interrupted(reason)

    def measured(self, measure: Callable[[], float]) -> float:
        """Return what the first process measures, while the others wait.

        Raises:
            Interrupted: it was stopped meanwhile.
        """
        found: float | StopReason = 0.0
        if self.is_first:
            try:
                found = measure()
            except Interrupted as exc:
                found = exc.reason
        found = self.told(found)
        if isinstance(found, StopReason):
            raise Interrupted(found)
        return found


def joined(rank: int, size: int, meeting: Path, *, is_cpu: bool) -> Team:
    """Meet the other processes of the attempt, and exchange gradients with them from now on.

    They find each other in a file, and talk over this machine's own network alone. accelerate finds them by the
    variables that its launcher sets. That launcher, of torch, is not used: it starts each process in a session of
    its own (torch 2.13), so that a kill of the worker's process group would leave them.

    Args:
        rank: the number of this one, from 0.
        size: how many there are, at least 2.
        meeting: the file, in a folder of this user; it is made.
        is_cpu: whether they compute on the processor.
    """
    import torch.distributed as dist

    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR="127.0.0.1", GLOO_SOCKET_IFNAME=_LOOPBACK)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", _LOOPBACK)
    dist.init_process_group(
        "gloo" if is_cpu else "nccl", init_method=meeting.as_uri(), rank=rank, world_size=size, timeout=_PATIENCE
    )
    return Team(rank, size, dist.new_group(backend="gloo", timeout=_PATIENCE))


def is_lost_partner(exc: BaseException) -> bool:
    """Whether an exception means that another process of the attempt has gone."""
    import torch.distributed as dist

    signs = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    text = str(exc) if isinstance(exc, RuntimeError) else ""
    return isinstance(exc, dist.DistError) or any(sign in text for sign in signs)

"""The processes of an attempt, one for each device: they take the same steps, each with batches of its own.

The first one is the worker: it reports, saves and decides, and tells the others what it has decided. So each of them
does the same, as the exchange of gradients needs.
"""

from __future__ import annotations

import datetime
import os
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit

import attrs
import psutil

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


@attrs.frozen
class Meeting:
    """Where the processes of an attempt find each other.

    Attributes:
        url: of a file, if all of them are on this machine, and the network that they talk over is the machine's own;
            or of a store of torch at the address of the first one's node.
    """

    url: str
    _store: Any = attrs.field(default=None, eq=False, repr=False)  # of the first process

    @classmethod
    def in_file(cls, file: Path) -> Meeting:
        """Return that of a file, in a folder of this user; it is made."""
        return cls(file.as_uri())

    @classmethod
    def at(cls, address: str) -> Meeting:
        """Open a store at an address of this node, which is that of the first process."""
        import torch.distributed as dist

        store = dist.TCPStore(address, 0, is_master=True, wait_for_workers=False, timeout=_PATIENCE)
        host = f"[{address}]" if ":" in address else address
        return cls(f"tcp://{host}:{store.port}", store)

    @property
    def address(self) -> tuple[str, int] | None:
        """Where the store is; None for a file."""
        parts = urlsplit(self.url)
        return (parts.hostname, parts.port) if parts.hostname and parts.port else None

    def store(self) -> Any:
        """Return the store of torch; None for a file."""
        import torch.distributed as dist

        if self.address is None or self._store is not None:
            return self._store
        return dist.TCPStore(*self.address, is_master=False, timeout=_PATIENCE)

    def interface(self) -> str:
        """Return the network interface that leads there."""
        if self.address is None:
            return _LOOPBACK
        family, kind, *_, target = socket.getaddrinfo(*self.address, type=socket.SOCK_DGRAM)[0]
        with socket.socket(family, kind) as probe:
            probe.connect(target)  # sends nothing
            own = probe.getsockname()[0]
        found = [name for name, given in psutil.net_if_addrs().items() if any(one.address == own for one in given)]
        return found[0] if found else _LOOPBACK


def joined(rank: int, size: int, meeting: Meeting, *, is_cpu: bool) -> Team:
    """Meet the other processes of the attempt, and exchange gradients with them from now on.

    accelerate finds them by the variables that its launcher sets. That launcher, of torch, is not used: it starts each
    process in a session of its own (torch 2.13), so that a kill of the worker's process group would leave them.

    Args:
        rank: the number of this one, from 0.
        size: how many there are, at least 2.
        meeting: where they find each other.
        is_cpu: whether they compute on the processor.
    """
    import torch.distributed as dist

    interface = meeting.interface()
    os.environ.update(RANK=str(rank), WORLD_SIZE=str(size), LOCAL_RANK=str(rank), LOCAL_WORLD_SIZE=str(size))
    os.environ.update(MASTER_ADDR=meeting.address[0] if meeting.address else "127.0.0.1", GLOO_SOCKET_IFNAME=interface)
    os.environ.setdefault("NCCL_SOCKET_IFNAME", interface)
    store = meeting.store()
    dist.init_process_group(
        "gloo" if is_cpu else "nccl",
        init_method=meeting.url if store is None else None,
        store=store,
        rank=rank,
        world_size=size,
        timeout=_PATIENCE,
    )
    return Team(rank, size, dist.new_group(backend="gloo", timeout=_PATIENCE))


def is_lost_partner(exc: BaseException) -> bool:
    """Whether an exception means that another process of the attempt has gone."""
    import torch.distributed as dist

    signs = ("gloo", "NCCL", "Connection closed by peer", "Connection reset by peer")
    text = str(exc) if isinstance(exc, RuntimeError) else ""
    return isinstance(exc, dist.DistError) or any(sign in text for sign in signs)

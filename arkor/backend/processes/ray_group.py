"""``python -m arkor.backend.processes.ray_group NAME DEVICES CPUS GPUS PYTHON MODULE SPEC``: several processes on Ray.

It is the Ray job of an attempt on several devices. Ray reserves room for all of its processes or for none, perhaps on
several nodes; the first process is the worker. They are plain actors in a placement group, because Ray Train's
``TorchTrainer`` would decide itself how the processes meet, stop and end, and the worker decides that here.

Exit codes: those of the worker; 68 its node is gone, 75 there was no room.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from typing import Any

import attrs
import ray
from ray.util import get_node_ip_address, placement_group, placement_group_table
from ray.util.scheduling_strategies import PlacementGroupSchedulingStrategy

from arkor.backend.processes.exit_reasons import (
    NODE_LOST_EXIT_CODE,
    NOT_STARTED_EXIT_CODE,
    TERMINATED_EXIT_CODE,
)
from arkor.backend.processes.ray_node import LEASHED, PARTNERS, end_as

log = logging.getLogger("arkor.ray")

_NODE_MODULE = "arkor.backend.processes.ray_node"
_PARTNER_MODULE = "arkor.backend.training_worker.elsewhere"
_NO_ROOM_S = 900.0  # as Ray itself waits for room for a job
_LOOK_S = 0.5
_LEAVE_S = 5.0  # from the end of the first process to that of the others, which end with it


@attrs.frozen
class Order:
    """What to run.

    Attributes:
        name: the attempt's.
        devices: how many processes there are.
        cpus: that each reserves.
        gpus: that each reserves.
        python: the interpreter on the nodes.
        module: the worker's.
        spec: the file that tells it what to do.
    """

    name: str
    devices: int = attrs.field(converter=int)
    cpus: float = attrs.field(converter=float)
    gpus: float = attrs.field(converter=float)
    python: str
    module: str
    spec: str

    def command(self, module: str, *more: str) -> list[str]:
        """Return what runs a module on a node."""
        return [self.python, "-P", "-m", _NODE_MODULE, LEASHED, module, self.spec, *more]


class Place:
    """Room for one process. Ray sends its code to the node; it imports nothing of arkor there."""

    def __init__(self) -> None:
        self._listener: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._has_begun = threading.Event()

    def open(self) -> str:
        """Listen for the other processes, at this node's address; return address and port."""
        address = get_node_ip_address()
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        self._listener = socket.create_server((address, 0), family=family, backlog=1024)
        return f"{address}:{self._listener.getsockname()[1]}"

    def run(self, command: list[str], environment: dict[str, str], variable: str, here: int) -> Iterator[bytes | int]:
        """Run the process; yield its output as it comes, and its exit code.

        Args:
            command: the program and its arguments.
            environment: what it has besides that of the node.
            variable: tells it where it hears of the others, if it does.
            here: how many processes are on this node.
        """
        sockets = [] if self._listener is None else [self._listener.fileno()]
        heard = {} if self._listener is None else {variable: f"{self._listener.fileno()} {here}"}
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,  # it ends with this process, and takes that one with it
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **environment, **heard},
            pass_fds=sockets,
            start_new_session=True,
        )
        self._has_begun.set()
        if self._listener is not None:
            self._listener.close()
        assert self._process.stdout is not None
        while output := os.read(self._process.stdout.fileno(), 2**16):
            yield output
        yield self._process.wait()

    def terminate(self) -> None:
        """Ask the process to end."""
        self._has_begun.wait()
        assert self._process is not None
        self._process.terminate()


class Followed:
    """A process on a node, as this one hears of it.

    Attributes:
        code: its exit code; None while it runs, and if Ray has lost it.
    """

    def __init__(self, order: Order, rank: int, output: Any) -> None:
        self.code: int | None = None
        self._order = order
        self._rank = rank
        self._output = output
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def has_ended(self, patience_s: float) -> bool:
        """Wait for its end, so many seconds at most; return whether it has come."""
        self._thread.join(patience_s)
        return not self._thread.is_alive()

    def _follow(self) -> None:
        try:
            for reference in self._output:
                said = ray.get(reference)
                if isinstance(said, int):
                    self.code = said
                else:
                    sys.stdout.buffer.write(said)
                    sys.stdout.buffer.flush()
        except ray.exceptions.RayError as exc:
            log.error(  # noqa: TRY400  # Ray's own calls say nothing
                *("On device %d of %d: its process or its node is gone, says Ray (%s)", self._rank + 1),
                *(self._order.devices, type(exc).__name__),
            )


def run(order: Order) -> int:
    """Run all processes to the end of the first one; return its exit code."""
    ray.init(log_to_driver=False)
    asked_to_end = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: asked_to_end.set())  # in place of Ray's
    bundle = {"CPU": order.cpus, **({"GPU": order.gpus} if order.gpus else {})}
    group = placement_group([bundle] * order.devices, strategy="PACK", name=order.name)
    gives_up_at = time.monotonic() + _NO_ROOM_S
    while not group.wait(_LOOK_S):
        if asked_to_end.is_set():
            return TERMINATED_EXIT_CODE
        if time.monotonic() > gives_up_at:
            return NOT_STARTED_EXIT_CODE
    wanted = {"num_cpus": order.cpus, "num_gpus": order.gpus, "max_restarts": 0, "max_concurrency": 2}
    rooms = [PlacementGroupSchedulingStrategy(group, rank) for rank in range(order.devices)]
    places = [ray.remote(Place).options(**wanted, scheduling_strategy=room).remote() for room in rooms]
    try:
        followed = _started(order, places, list(placement_group_table(group)["bundles_to_node_id"].values()))
    except ray.exceptions.RayError:
        log.exception("A node is gone")
        return NODE_LOST_EXIT_CODE
    while not followed[0].has_ended(_LOOK_S):
        if asked_to_end.is_set():
            asked_to_end.clear()
            places[0].terminate.remote()
    for other in followed[1:]:
        other.has_ended(_LEAVE_S)
    return NODE_LOST_EXIT_CODE if followed[0].code is None else followed[0].code


def _started(order: Order, places: list[Any], nodes: list[str]) -> list[Followed]:
    address = ray.get(places[0].open.remote())
    modules = [[order.module], *([_PARTNER_MODULE, address, str(rank)] for rank in range(1, order.devices))]
    environment = {} if order.gpus else {"CUDA_VISIBLE_DEVICES": ""}
    here = nodes.count(nodes[0])
    return [
        Followed(order, rank, place.run.remote(order.command(*module), environment, PARTNERS, here))
        for rank, (place, module) in enumerate(zip(places, modules, strict=True))
    ]


def main(arguments: list[str]) -> None:
    """Run the processes that the command line names, and end as the first one ended.

    Args:
        arguments: the command line, without the program's name.
    """
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    code = run(Order(*arguments))
    ray.shutdown()  # which ends what is left on the nodes
    end_as(code)


if __name__ == "__main__":
    main(sys.argv[1:])

"""The other processes of an attempt that are not below the first one, but on nodes of a cluster.

``python -m arkor.backend.training_worker.elsewhere SPEC ADDRESS:PORT RANK`` runs one of them. It connects to the first
process, which listens on a socket that it was started with, proves that it has read the spec, and is told with a line
of JSON where its ``Part`` is; it tells with another how its process ended. Each of the two notices from the connection
if the other is gone. The part itself is in a file of this user, because it has secrets.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import attrs

from arkor.backend.processes.exit_reasons import NODE_LOST_EXIT_CODE
from arkor.backend.processes.ray_node import PARTNERS
from arkor.backend.training_worker.limits.device import prepare_environment
from arkor.backend.training_worker.plan import Part
from arkor.backend.training_worker.spec import read_spec
from arkor.protocol.proof import is_proof, proof_of, secret_of
from arkor.system.files import write_atomically
from arkor.system.processes import child, module_command

PARTNER = "arkor.backend.training_worker.partner"  # what ``python -m`` runs for each of the others

_COME_S = 120.0  # they are started together with the first process, which has read its rows by then
_GREETING_S = 5.0
_LONGEST_LINE = 2**20
# A machine that is switched off says nothing: after 5 s without a word it is asked, every 5 s, three times.
_KEEP_ALIVE = (("TCP_KEEPIDLE", 5), ("TCP_KEEPINTVL", 5), ("TCP_KEEPCNT", 3))


class Partner:
    """One of the other processes, on whichever node, as the first one sees it."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self.node = connection.getpeername()[0]

    def begin(self, part: Part) -> None:
        """Tell it what to do."""
        file = part.examples.with_name(f"part-{part.rank}")
        write_atomically(file, pickle.dumps(part), mode=0o600)
        self._connection.sendall(json.dumps({"part": str(file)}).encode() + b"\n")

    def ended(self) -> tuple[int, bytes]:
        """Wait for its end; return its exit code, and what it has said."""
        with self._connection.makefile("rb") as lines:
            try:
                told = json.loads(lines.readline(_LONGEST_LINE))
                return int(told["code"]), str(told["said"]).encode()
            except (OSError, ValueError):
                said = {"error": f"its process or its node {self.node} is gone"}
                return NODE_LOST_EXIT_CODE, json.dumps(said).encode()

    def kill(self) -> None:
        """Let it end at once."""
        with contextlib.suppress(OSError):  # it is gone
            self._connection.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """Let it go; it has ended, or will."""
        self._connection.close()


@attrs.frozen
class Gathering:
    """Where the first process hears of the others.

    Attributes:
        here: how many processes are on this node, this one included.
        address: this node's.
    """

    here: int
    address: str
    _listener: socket.socket

    @classmethod
    def found(cls) -> Gathering | None:
        """Return that of this process; None if it starts the others itself."""
        if PARTNERS not in os.environ:
            return None
        number, here = map(int, os.environ.pop(PARTNERS).split())
        listener = socket.socket(fileno=number)
        return cls(here, listener.getsockname()[0], listener)

    def partners(self, size: int, token: str) -> dict[int, Partner]:
        """Wait until all others have come; return them by their ranks.

        Those that have not come after two minutes are missing.

        Args:
            size: how many processes there are, this one included.
            token: the attempt's, which all of them know.
        """
        found: dict[int, Partner] = {}
        until = time.monotonic() + _COME_S
        with self._listener:
            while len(found) < size - 1 and (left := until - time.monotonic()) > 0:
                self._listener.settimeout(left)
                try:
                    connection, _ = self._listener.accept()
                except TimeoutError:
                    break
                rank = _greeted(connection, token)
                if rank is None or rank in found:
                    connection.close()
                else:
                    found[rank] = Partner(connection)
        return found


def _greeted(connection: socket.socket, token: str) -> int | None:
    """Return the rank of the process that has connected; None for a stranger, and for one that is gone again."""
    connection.settimeout(_GREETING_S)
    try:
        with connection.makefile("rb") as lines:
            said = json.loads(lines.readline(_LONGEST_LINE))
        rank, proof = int(said["rank"]), said["proof"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    connection.settimeout(None)
    _keep_alive(connection)
    return rank if is_proof(proof, secret_of(token), str(rank)) else None


def _keep_alive(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in _KEEP_ALIVE:
        if hasattr(socket, name):  # not everywhere
            connection.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


def _end_with_the_first(lines: Any, process: subprocess.Popen[bytes]) -> None:
    with contextlib.suppress(OSError):  # its node is gone
        lines.read()
    process.kill()


def _follow(connection: socket.socket, lines: Any) -> None:
    """Run this node's process until its end, or that of the first one."""
    told = lines.readline(_LONGEST_LINE)
    if not told:
        return
    with child(module_command(PARTNER), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(Path(json.loads(told)["part"]).read_bytes())
        process.stdin.flush()
        threading.Thread(target=_end_with_the_first, args=(lines, process), daemon=True).start()
        said = process.stdout.read()
        code = process.wait()
    connection.sendall(json.dumps({"code": code, "said": said.decode(errors="replace")}).encode() + b"\n")
    connection.shutdown(socket.SHUT_RDWR)  # so that nothing reads from it any more, and it can be closed


def main(arguments: list[str]) -> None:
    """Run one of the other processes of an attempt.

    Args:
        arguments: the command line, without the program's name.
    """
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # the first process decides when to stop
    path, address, rank = arguments
    spec = read_spec(Path(path))
    prepare_environment(spec.threads, deterministic=spec.config.value("full_determinism"))
    host, _, port = address.rpartition(":")
    with socket.create_connection((host, int(port))) as connection, connection.makefile("rb") as lines:
        _keep_alive(connection)
        greeting = {"rank": int(rank), "proof": proof_of(secret_of(spec.token), rank)}
        connection.sendall(json.dumps(greeting).encode() + b"\n")
        try:
            _follow(connection, lines)
        except OSError as exc:  # the first process, or its node, is gone
            print(f"Device {int(rank) + 1}: {exc}", file=sys.stderr)


if __name__ == "__main__":
    main(sys.argv[1:])

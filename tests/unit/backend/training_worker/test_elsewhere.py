"""The other processes of an attempt on nodes of a cluster, as the first one hears of them."""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.backend.processes.exit_reasons import NODE_LOST_EXIT_CODE
from arkor.backend.processes.ray_node import PARTNERS
from arkor.backend.training_worker import elsewhere, others
from arkor.backend.training_worker.elsewhere import Gathering, Partner
from arkor.backend.training_worker.limits.device import Device
from arkor.backend.training_worker.others import ProcessEnded, leave, team_of
from arkor.backend.training_worker.plan import Part, Plan
from arkor.backend.training_worker.team import Meeting, Team
from arkor.protocol.config import JobConfig
from arkor.protocol.proof import proof_of, secret_of
from tests.support.attempts import UPLOADED, attempt
from tests.support.backend import ROOT

LOST = RuntimeError("[gloo/transport/tcp/pair.cc:537] Connection closed by peer [192.0.2.2]:4747")


def plan(folder: Path, devices: int, name: str = "n") -> Plan:
    config = JobConfig(model="m", dataset_source=UPLOADED, devices=devices)
    spec = attempt(config, folder, None, name=name)
    return Plan(spec=spec, device=Device("cpu", "float32"), model_path="m", resumed=None, tries_longest=False)


@attrs.frozen
class World:
    """A first process that listens, and the address for the others."""

    gathering: Gathering
    address: tuple[str, int]
    folder: Path

    def come(self, rank: Any, token: str = "t") -> socket.socket:
        """Connect as the process of a device."""
        connection = socket.create_connection(self.address)
        said = {"rank": rank, "proof": proof_of(secret_of(token), str(rank))}
        connection.sendall(json.dumps(said).encode() + b"\n")
        return connection


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    listener = socket.create_server(("127.0.0.1", 0))
    address = listener.getsockname()
    monkeypatch.setenv(PARTNERS, f"{listener.detach()} 2")
    gathering = Gathering.found()
    assert gathering is not None
    assert (gathering.here, gathering.address, PARTNERS in os.environ) == (2, "127.0.0.1", False)
    (tmp_path / "shared").mkdir()
    monkeypatch.setattr(others, "_UNWIND_S", 60.0)  # the first look at torch may take long
    monkeypatch.setattr(others, "joined", lambda rank, size, _meeting, *, is_cpu: Team(rank, size))
    monkeypatch.setattr(Meeting, "at", lambda address: Meeting(f"tcp://{address}:1"))
    yield World(gathering, address, tmp_path)
    gathering._listener.close()


def test_a_process_that_was_given_no_socket_starts_the_others_itself() -> None:
    assert Gathering.found() is None


def test_each_that_has_come_is_told_its_part(world: World) -> None:
    """In a file of this user; strangers, and those that are gone again, are passed over."""
    strangers = [world.come(1, "other"), world.come("first"), socket.create_connection(world.address)]
    strangers[-1].sendall(b"GET / HTTP/1.1\r\n\r\n")
    with world.come(2) as second, world.come(1) as first:
        with team_of(plan(world.folder, 3), world.folder / "shared", leave, world.gathering) as team:
            assert (team.size, team.is_first) == (3, True)
            for rank, connection in ((1, first), (2, second)):
                part = Path(json.loads(connection.makefile("rb").readline())["part"])
                assert part == world.folder / "shared" / f"part-{rank}"
                assert part.stat().st_mode & 0o777 == 0o600
                connection.sendall(b'{"code": 0, "said": ""}\n')
        assert not (world.folder / "shared").exists()
    for connection in strangers:
        connection.close()


@pytest.mark.parametrize(
    ("says", "code", "error"),
    [
        (b"", NODE_LOST_EXIT_CODE, "its process or its node 127.0.0.1 is gone"),
        (b'{"code": -9, "said": ""}\n', -9, "its worker was killed by signal SIGKILL (often: out of memory)"),
        (b'{"code": 28, "said": "{\\"error\\": \\"The disk is full\\"}"}\n', 28, "The disk is full"),
    ],
)
def test_an_attempt_ends_as_the_process_elsewhere_did(world: World, says: bytes, code: int, error: str) -> None:
    """And with the loss of its node, which can say nothing."""
    connection = world.come(1)

    def fail() -> None:
        connection.sendall(says)
        connection.close()
        raise LOST

    with (
        pytest.raises(ProcessEnded) as raised,
        team_of(plan(world.folder, 2), world.folder / "shared", leave, world.gathering),
    ):
        fail()
    assert (raised.value.exit_code, str(raised.value)) == (code, f"On device 2 of 2: {error}")


def test_an_attempt_ends_if_one_does_not_come(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """The error names its device."""
    monkeypatch.setattr(elsewhere, "_COME_S", 0.1)
    with (
        world.come(1),
        pytest.raises(ProcessEnded, match="On device 3 of 3: its process has not come") as raised,
        team_of(plan(world.folder, 3), world.folder / "shared", leave, world.gathering),
    ):
        pass
    assert raised.value.exit_code == NODE_LOST_EXIT_CODE


@pytest.mark.parametrize(("name", "code"), [("7", 7), ("-9", -9), ("stay", None)])
def test_a_node_runs_its_process_and_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, code: int | None
) -> None:
    """It ends its process if the first one is gone."""
    monkeypatch.setattr(elsewhere, "PARTNER", "tests.support.scripted_partner")
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    with socket.create_server(("127.0.0.1", 0)) as listener:
        far = socket.create_connection(listener.getsockname())
        near, _ = listener.accept()

    def follow() -> None:
        with far, far.makefile("rb") as lines, contextlib.suppress(OSError):
            elsewhere._follow(far, lines)

    other = threading.Thread(target=follow)
    other.start()
    partner = Partner(near)
    partner.begin(Part(plan(tmp_path, 2, name), 1, "tcp://192.0.2.2:1", tmp_path / "rows"))
    if code is None:
        partner.kill()
    else:
        assert partner.ended()[0] == code
    other.join(60)
    assert not other.is_alive()
    partner.close()


@pytest.mark.skipif(sys.platform != "linux", reason="the loopback interface has this name on Linux")
def test_processes_talk_over_the_network_that_leads_to_their_meeting(tmp_path: Path) -> None:
    """For a file, over this machine's own."""
    file = Meeting.in_file(tmp_path / "meeting")
    assert (file.address, file.interface(), file.store()) == (None, "lo", None)
    there = Meeting("tcp://127.0.0.1:4747")
    assert (there.address, there.interface()) == (("127.0.0.1", 4747), "lo")
    assert Meeting("tcp://[::1]:4747").address == ("::1", 4747)

"""The event stream over TLS, with a certificate authority of the test's own."""

from __future__ import annotations

import ssl
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from arkor import Aborted, ConnectionFailed, ReconnectExhausted, ReconnectPolicy, WaitTimeout
from tests.support.events import frames, long_plan
from tests.support.eventually import eventually
from tests.support.rawserver import FORMS, Connection, RawServer, event_stream
from tests.support.waiting import Told, Waiting, make_trainer

PLAN = long_plan()
FRAMES = frames(PLAN)
TOLD = [("started", None), *(("log", step) for step in range(1, 39)), ("completed", None)]


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the authority be trusted, as a user would."""
    bundle = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))


@pytest.fixture
def server(authority: trustme.CA) -> Iterator[RawServer]:
    """A backend of raw bytes that speaks TLS."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("127.0.0.1").configure_cert(context)
    with RawServer(PLAN, tls=context) as running:
        yield running


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("form", FORMS)
def test_a_run_over_tls_is_like_any_other(server: RawServer, form: str) -> None:
    """From the identity to the last event."""
    told = Told()
    server.script(Connection(sent=event_stream(*FRAMES, form=form), piece=97))
    assert make_trainer(server, told).wait(check=True).status == "completed"
    assert told.names == TOLD


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("reset", [False, True], ids=["FIN", "RST"])
@pytest.mark.parametrize("form", FORMS)
def test_a_connection_that_is_cut_without_a_farewell_is_a_lost_one(server: RawServer, form: str, reset: bool) -> None:
    """TLS has a close_notify of its own; without it, and wherever it is missing, each event is told once."""
    whole = event_stream(*FRAMES, form=form)
    for cut in (0, 20, whole.index(FRAMES[0]), whole.index(FRAMES[17]) + 33, whole.index(FRAMES[18]), len(whole)):
        told = Told()
        server.script(Connection(sent=whole[:cut], reset=reset))
        assert make_trainer(server, told).wait().status == "completed"
        assert told.names == TOLD, cut


@pytest.mark.usefixtures("trusted")
@pytest.mark.parametrize("form", FORMS)
def test_an_abort_of_a_blocked_read_is_felt_at_once_and_delivers_no_garbage(server: RawServer, form: str) -> None:
    """Many times over: a TLS stream that is shut down in the middle of a read may hand out anything as data."""
    abort_event = threading.Event()
    sent = event_stream(*FRAMES, form=form)
    for _ in range(30 // len(FORMS)):
        told = Told()
        server.script(Connection(sent=sent[: sent.index(FRAMES[2]) + 30], hold=threading.Event()))
        trainer = make_trainer(server, told, abort_event=abort_event)
        waiting = Waiting(trainer.wait)
        eventually(lambda told=told: len(told.names) == 2, "two events are told")  # type: ignore[misc]
        abort_event.set()
        assert isinstance(waiting.outcome(), Aborted)
        assert trainer.last_event_id == "2"
        assert told.names == TOLD[:2]
        abort_event.clear()
        assert Waiting(trainer.wait).outcome().status == "completed"
        assert told.names == TOLD


@pytest.mark.usefixtures("trusted")
def test_an_abort_while_data_arrive_delivers_no_garbage(server: RawServer) -> None:
    """What is told are events that were sent, in order, up to some point; the next wait goes on there."""
    plan = long_plan(2000)
    server.plan[:] = plan
    wanted = [("started", None), *(("log", step) for step in range(1, 1999)), ("completed", None)]
    abort_event = threading.Event()
    for _ in range(6):
        told = Told()
        server.script(Connection(sent=event_stream(*frames(plan)[:-1]), piece=50, hold=threading.Event()))
        trainer = make_trainer(server, told, abort_event=abort_event)
        waiting = Waiting(trainer.wait)
        eventually(lambda told=told: told.names, "something is told")  # type: ignore[misc]
        abort_event.set()
        assert isinstance(waiting.outcome(), Aborted)
        assert told.names == wanted[: len(told.names)]
        assert trainer.last_event_id == str(len(told.names))
        abort_event.clear()
        assert Waiting(trainer.wait).outcome(15).status == "completed"
        assert told.names == wanted


@pytest.mark.usefixtures("trusted")
def test_an_abort_in_the_handshake_is_felt_at_once(server: RawServer) -> None:
    """The connection is accepted, and then nothing comes: there is no TLS socket yet that could be shut down."""
    abort_event, told = threading.Event(), Told()
    trainer = make_trainer(server, told, abort_event=abort_event)
    trainer.start()
    with server.mute():
        waiting = Waiting(trainer.wait)
        eventually(lambda: server.open_connections, "the backend has accepted the connection")
        abort_event.set()
        assert isinstance(waiting.outcome(), Aborted)
    abort_event.clear()
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


@pytest.mark.usefixtures("trusted")
def test_silence_is_noticed_within_a_record(server: RawServer) -> None:
    """The idle timeout counts for TLS as well."""
    told = Told()
    server.script(Connection(sent=event_stream(*FRAMES)[:900], hold=threading.Event()))
    trainer = make_trainer(server, told, reconnect=ReconnectPolicy(base_delay=0.01, idle_timeout=0.2))
    assert Waiting(trainer.wait).outcome().status == "completed"
    assert told.names == TOLD


@pytest.mark.usefixtures("trusted")
def test_a_timeout_ends_a_blocked_read(server: RawServer) -> None:
    """The deadline of the whole wait, over TLS too."""
    server.script(Connection(sent=event_stream(*FRAMES)[:900], hold=threading.Event()))
    trainer = make_trainer(server)
    trainer.start()
    assert isinstance(Waiting(lambda: trainer.wait(timeout=0.2)).outcome(), WaitTimeout)


def test_an_authority_that_is_not_trusted_is_named_before_anything_is_sent(server: RawServer) -> None:
    """The error says that it is the certificate; nobody is told a name or a token."""
    with pytest.raises(ConnectionFailed, match="its TLS certificate was not accepted"):
        make_trainer(server).wait()
    assert server.requests == []


@pytest.mark.usefixtures("trusted")
def test_a_certificate_that_is_no_longer_accepted_ends_the_wait_with_its_reason(
    server: RawServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As any failure that lasts: after as many attempts as the policy allows."""
    trainer = make_trainer(server, reconnect=ReconnectPolicy(base_delay=0.01, max_attempts=2))
    trainer.start()
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ReconnectExhausted) as raised:
        trainer.wait()
    assert "its TLS certificate was not accepted" in str(raised.value.__cause__)
    assert not server.streams

"""Downloads on a backend that fetches from public hosts alone.

Every address of a test is one of the loopback, so here 127.0.0.2 counts as public. A look-up is replaced.
"""

from __future__ import annotations

import ipaddress
import logging
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import trustme

from arkor.backend import addresses
from arkor.backend.training_worker.rows import dialing
from arkor.backend.training_worker.rows.blob_body import Limits
from arkor.backend.training_worker.rows.download import download_blob
from arkor.errors import DatasetError
from tests.support.blobs import ROWS, BlobHost, redirect, whole

PUBLIC = "127.0.0.2"
PRIVATE = "127.0.0.1"


@pytest.fixture(autouse=True)
def _public_loopback(monkeypatch: pytest.MonkeyPatch) -> None:
    def is_public(address: addresses.Address) -> bool:
        return address == ipaddress.ip_address(PUBLIC) or addresses.is_public(address)

    monkeypatch.setattr(dialing, "is_public", is_public)


@pytest.fixture
def names(monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Set what the name server answers to one look-up after the other; returns the names that were looked up."""
    real = socket.getaddrinfo

    def use(*answers: Sequence[str]) -> list[str]:
        left, asked = list(answers), []

        def getaddrinfo(host: str, port: int, *args: Any, **kwargs: Any) -> list[Any]:
            if not host.endswith(".test"):
                return list(real(host, port, *args, **kwargs))
            asked.append(host)
            found = left.pop(0)
            return [item for address in found for item in real(address, port, *args, **kwargs)]

        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        return asked

    return use


def fetch(url: str, folder: Path, token: str | None = None) -> bytes:
    return download_blob({"type": "blob", "url": url, "token": token}, folder, limits=Limits(tries=1)).read_bytes()


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", "127.1", "2130706433", "[::ffff:127.0.0.1]"])
def test_a_host_that_is_not_public_is_refused_before_a_connection(host: str, tmp_path: Path) -> None:
    """The error says what to do."""
    with BlobHost() as server:
        with pytest.raises(DatasetError, match=r"not public; upload the rows .* start it with --allow-private-urls"):
            fetch(server.url(host), tmp_path)
        assert server.heads == []
    assert list(tmp_path.iterdir()) == []


def test_the_operator_can_allow_every_host(tmp_path: Path) -> None:
    """As ``arkor start --local`` does."""
    with BlobHost() as server:
        source = {"type": "blob", "url": server.url("localhost")}
        assert download_blob(source, tmp_path, allow_private_urls=True).read_bytes() == ROWS


def test_a_redirect_to_a_host_that_is_not_public_is_refused(tmp_path: Path) -> None:
    """A public server may lead to the loopback; that one never hears of it."""
    with BlobHost() as inner, BlobHost([redirect(inner.url())], PUBLIC) as outer:
        with pytest.raises(DatasetError, match=r"the host 127\.0\.0\.1 has an address that is not public"):
            fetch(outer.url(PUBLIC), tmp_path)
        assert (len(outer.heads), inner.heads) == (1, [])


def test_one_address_that_is_not_public_is_enough(
    names: Callable[..., list[str]], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Wherever it is among the addresses of the name. The worker's log has the address, the error has not."""
    names([PUBLIC, "10.1.2.3"])
    with BlobHost(address=PUBLIC) as server, caplog.at_level(logging.WARNING):
        with pytest.raises(DatasetError, match=r"the host rows\.test has an address that is not public") as caught:
            fetch(server.url("rows.test"), tmp_path)
        assert server.heads == []
    assert "10.1.2.3" not in str(caught.value)
    assert "10.1.2.3" in caplog.text


def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    names: Callable[..., list[str]], tmp_path: Path
) -> None:
    """A name server that answers with another address the second time is not asked a second time."""
    asked = names([PUBLIC], [PRIVATE])
    with BlobHost(address=PUBLIC) as server:
        assert fetch(server.url("rows.test"), tmp_path) == ROWS
        assert server.seen("Host") == [f"rows.test:{server.port}"]
    assert asked == ["rows.test"]


def test_a_later_connection_is_checked_again(names: Callable[..., list[str]], tmp_path: Path) -> None:
    """The answer that changed in between is refused."""
    names([PUBLIC], [PRIVATE])
    with BlobHost(address=PUBLIC) as server:
        server.answers = [redirect(server.url("rows.test")), whole(ROWS)]
        with pytest.raises(DatasetError, match=r"the host rows\.test has an address that is not public"):
            fetch(server.url("rows.test"), tmp_path)
        assert len(server.heads) == 1


def test_an_address_that_does_not_answer_is_passed_over(
    names: Callable[..., list[str]], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Of several that were checked, the first that takes a connection is used."""
    monkeypatch.setattr(dialing, "is_public", lambda _: True)
    names(["127.0.0.3", PUBLIC])
    with BlobHost(address=PUBLIC) as server:
        assert fetch(server.url("rows.test"), tmp_path) == ROWS


def test_a_name_that_does_not_exist_is_an_error_of_the_connection(tmp_path: Path) -> None:
    """With the URL, but without its query."""
    with pytest.raises(DatasetError, match=r"http://rows.invalid/x: cannot be fetched from the backend's machine"):
        fetch("http://rows.invalid/x?sig=SECRET", tmp_path)


def test_a_proxy_is_refused_because_it_looks_the_host_up_itself(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Nobody would check the address. ``NO_PROXY`` and the operator's option are the ways out."""
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with BlobHost() as proxy, BlobHost(address=PUBLIC) as server:
        monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{proxy.port}")
        with pytest.raises(DatasetError, match=r"through a proxy, so it cannot check .* --allow-private-urls"):
            fetch(server.url(PUBLIC), tmp_path)
        assert proxy.heads == []
        monkeypatch.setenv("no_proxy", PUBLIC)
        assert fetch(server.url(PUBLIC), tmp_path) == ROWS


# TLS


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


def context(authority: trustme.CA, name: str, seen: list[str | None]) -> ssl.SSLContext:
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(name).configure_cert(made)
    made.sni_callback = lambda _socket, wanted, _context: seen.append(wanted)
    return made


@pytest.mark.parametrize(("name", "fits"), [("rows.test", True), (PUBLIC, False)], ids=["its name", "its address"])
def test_tls_goes_by_the_name_although_an_address_is_connected_to(
    name: str,
    fits: bool,
    authority: trustme.CA,
    names: Callable[..., list[str]],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    """The name is sent as SNI, and the certificate has to be the name's."""
    bundle, folder, asked = tmp_path / "authority.pem", tmp_path / "job", list[str | None]()
    folder.mkdir()
    authority.cert_pem.write_to_path(bundle)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(bundle))
    names([PUBLIC])
    with BlobHost(address=PUBLIC, tls=context(authority, name, asked)) as server:
        if fits:
            assert fetch(server.url("rows.test"), folder) == ROWS
            assert server.seen("Host") == [f"rows.test:{server.port}"]
        else:
            with pytest.raises(DatasetError, match="the server's certificate is not accepted"):
                fetch(server.url("rows.test"), folder)
    assert asked == ["rows.test"]

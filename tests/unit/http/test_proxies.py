"""Proxies and certificate authorities of the environment: honoured as everywhere, and never told a secret."""

from __future__ import annotations

import base64
import socket
import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest
import trustme

from arkor.errors import ConnectionFailed
from arkor.http.transport import Transport
from tests.support.cloud import Cloud
from tests.support.network import Proxy, TlsCloud

ME = "/v1/me"
HOST = "backend.example.com"
# A name of this machine that is none of the usual ones: proxies are asked for it, and no name server is.
OTHER_NAME = "127.1"


@pytest.fixture(autouse=True)
def _no_bundle(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def authority() -> trustme.CA:
    """A certificate authority that nobody trusts yet."""
    return trustme.CA()


@pytest.fixture
def bundle(authority: trustme.CA, tmp_path: Path) -> str:
    """The file that makes it trusted."""
    authority.cert_pem.write_to_path(str(tmp_path / "authority.pem"))
    return str(tmp_path / "authority.pem")


@pytest.fixture
def backend(authority: trustme.CA) -> Iterator[Cloud]:
    """A backend behind TLS, under a name that only a proxy knows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(HOST, "127.0.0.1").configure_cert(context)
    with TlsCloud(context) as running:
        running.know("secret", "org")
        yield running


@pytest.fixture
def proxy(backend: Cloud) -> Iterator[Proxy]:
    """A proxy that knows the way to it."""
    with Proxy({f"{HOST}:443": f"127.0.0.1:{backend.port}"}) as running:
        yield running


def ask(url: str) -> int:
    """Ask a backend who this is; return the status."""
    transport = Transport(url, "secret")
    try:
        return transport.send("GET", ME).status_code
    finally:
        transport.close()


@pytest.mark.parametrize("name", ["HTTPS_PROXY", "https_proxy", "ALL_PROXY"])
def test_https_goes_through_a_tunnel_of_the_proxy(
    backend: Cloud, proxy: Proxy, bundle: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Which learns the host, and nothing that is said."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.setenv(name, f"http://{proxy.address}")
    assert ask(f"https://{HOST}") == 200
    (head,) = proxy.heads
    assert head.startswith(f"CONNECT {HOST}:443 HTTP/1.")
    assert "secret" not in head
    assert "/v1" not in head
    assert backend.requests[0].headers["authorization"] == "Bearer secret"


def test_the_proxys_password_is_for_the_proxy_alone(
    backend: Cloud, proxy: Proxy, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It goes to the proxy, not to the backend."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:private@{proxy.address}")
    assert ask(f"https://{HOST}") == 200
    expected = base64.b64encode(b"user:private").decode()
    assert f"Proxy-Authorization: Basic {expected}\r\n" in proxy.heads[0]
    assert "proxy-authorization" not in backend.requests[0].headers


def test_no_proxy_is_heeded(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    """The host that it names is reached directly, others are not."""
    cloud.know("secret", "org")
    url = f"http://{OTHER_NAME}:{cloud.port}"
    with Proxy() as proxy:
        monkeypatch.setenv("HTTP_PROXY", f"http://{proxy.address}")
        monkeypatch.setenv("NO_PROXY", f"example.com,{OTHER_NAME}")
        assert ask(url) == 200
        assert proxy.heads == []
        monkeypatch.setenv("NO_PROXY", "example.com")
        with pytest.raises(Exception, match="403"):
            ask(url)
        assert proxy.heads[0].startswith(f"GET {url}{ME} HTTP/1.1\r\n")
    assert len(cloud.requests) == 1


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost"])
def test_this_machine_is_reached_without_the_proxy(cloud: Cloud, monkeypatch: pytest.MonkeyPatch, host: str) -> None:
    """Its backend is behind no proxy, whatever the environment says."""
    cloud.know("secret", "org")
    with Proxy() as proxy:
        for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"):
            monkeypatch.setenv(name, f"http://{proxy.address}")
        assert ask(f"http://{host}:{cloud.port}") == 200
        assert proxy.heads == []


def test_a_proxy_that_refuses_is_told_as_such(proxy: Proxy, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the settings to look at, and without their password."""
    monkeypatch.setenv("HTTPS_PROXY", f"http://user:private@{proxy.address}")
    with pytest.raises(ConnectionFailed, match="the proxy failed; look at HTTPS_PROXY and NO_PROXY") as raised:
        ask("https://unknown.example.com")
    assert "private" not in str(raised.value)
    assert "https://unknown.example.com" in str(raised.value)


def test_a_proxy_that_is_away_is_told_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing was sent."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HTTPS_PROXY", f"http://user:private@127.0.0.1:{unused.getsockname()[1]}")
        with pytest.raises(ConnectionFailed) as raised:
            ask(f"https://{HOST}")
    assert "private" not in str(raised.value)


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_an_authority_of_the_environment_is_trusted(
    backend: Cloud, bundle: str, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """And no other: without it, the certificate is refused before a token is sent."""
    with pytest.raises(ConnectionFailed, match="its TLS certificate was not accepted"):
        ask(backend.url)
    assert backend.requests == []
    monkeypatch.setenv(name, bundle)
    assert ask(backend.url) == 200


def test_a_certificate_for_another_name_is_refused(
    authority: trustme.CA, bundle: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However much its authority is trusted."""
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", bundle)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("other.example.com").configure_cert(context)
    with TlsCloud(context) as impostor:
        with pytest.raises(ConnectionFailed, match="TLS certificate was not accepted"):
            ask(impostor.url)
        assert impostor.requests == []


@pytest.mark.parametrize("content", [None, b"no certificate"])
def test_a_bundle_that_is_none_is_one_of_our_errors(
    backend: Cloud, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None
) -> None:
    """A path that is wrong is in the error."""
    file = tmp_path / "bundle.pem"
    if content is not None:
        file.write_bytes(content)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(file))
    with pytest.raises(ConnectionFailed, match="bundle.pem" if content is None else "TLS"):
        ask(backend.url)

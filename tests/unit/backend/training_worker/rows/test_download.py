"""Fetching a blob: whose password is sent where, and bodies that are no rows."""

from __future__ import annotations

import contextlib
import gzip
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from arkor.backend.training_worker.rows.blob_body import Limits
from arkor.backend.training_worker.rows.download import download_blob, shown_url
from arkor.errors import DatasetError
from tests.support.blobs import ROWS, BlobHost, head, redirect, whole


@pytest.fixture
def serve() -> Iterator[Callable[[], BlobHost]]:
    """Start a host; all end with the test."""
    with contextlib.ExitStack() as running:
        yield lambda: running.enter_context(BlobHost())


@pytest.fixture
def host(serve: Callable[[], BlobHost]) -> BlobHost:
    return serve()


@pytest.fixture
def _netrc(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Passwords of the backend's user for both names of this machine, and for any other."""
    file = tmp_path / "netrc"
    file.write_text("".join(f"machine {name} login op password SECRET\n" for name in ("127.0.0.1", "localhost")))
    file.chmod(0o600)
    monkeypatch.setenv("NETRC", str(file))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "job").mkdir()
    return tmp_path / "job"


def fetch(url: str, folder: Path, token: str | None = None) -> bytes:
    source = {"type": "blob", "url": url, "token": token}
    return download_blob(
        source, folder, allow_private_urls=True, limits=Limits(tries=1, first_pause_s=0.01)
    ).read_bytes()


# Whose password


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize(("token", "sent"), [("mine", "Bearer mine"), (None, None)])
def test_the_netrc_of_the_backends_user_is_never_sent(
    token: str | None, sent: str | None, host: BlobHost, folder: Path
) -> None:
    """The job's own token is, or nothing."""
    assert fetch(host.url(), folder, token) == ROWS
    assert host.seen("Authorization") == [sent]


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize("token", ["mine", None])
def test_a_redirect_to_another_host_gets_no_password(
    token: str | None, serve: Callable[[], BlobHost], folder: Path
) -> None:
    """Neither the token nor the netrc's, nor on the way back."""
    first, second = serve(), serve()
    first.answers = [redirect(second.url("localhost"))]
    assert fetch(first.url(), folder, token) == ROWS
    assert second.seen("Authorization") == [None]


@pytest.mark.usefixtures("_netrc")
def test_a_redirect_within_the_host_keeps_the_token(host: BlobHost, folder: Path) -> None:
    """Until there are too many, and the error says so."""
    host.answers = [redirect("/again")]
    with pytest.raises(DatasetError, match="it leads on to another URL more than 10 times"):
        fetch(host.url(), folder, "mine")
    assert set(host.seen("Authorization")) == {"Bearer mine"}
    assert len(host.seen("Authorization")) > 1


@pytest.mark.usefixtures("_netrc")
@pytest.mark.parametrize(("token", "sent"), [("mine", "Bearer mine"), (None, "Basic dXNlcjpwdw==")])
def test_a_password_in_the_url_is_the_jobs_own(token: str | None, sent: str, host: BlobHost, folder: Path) -> None:
    """It is sent where no token is given, and is not shown in an error."""
    url = host.url("user:pw@127.0.0.1")
    assert fetch(url, folder, token) == ROWS
    assert host.seen("Authorization") == [sent]
    for secret in ("?sig=SECRET", "#SECRET", "?a=1#SECRET"):
        assert shown_url(f"{url}{secret}") == host.url()


def test_proxies_of_the_environment_are_used(host: BlobHost, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As before: only passwords are not taken from it."""
    monkeypatch.setenv("http_proxy", f"http://127.0.0.1:{host.port}")
    monkeypatch.delenv("no_proxy", raising=False)
    monkeypatch.delenv("NO_PROXY", raising=False)
    assert fetch("http://rows.invalid/rows.jsonl", folder, "mine") == ROWS
    assert host.seen("Authorization") == ["Bearer mine"]


# Bodies


@pytest.mark.parametrize(
    ("sent", "says"),
    [
        (whole(ROWS * 9)[:-5], r"the connection ended after 121 of 126 bytes"),
        (head("200 OK", "Transfer-Encoding: chunked") + b'5\r\n{"tex\r\n', r"the connection ended after \d+ bytes"),
        (whole(gzip.compress(ROWS)), "is compressed with gzip"),
        (whole(b"PK\x03\x04\x14"), "is compressed with zip"),
        (whole(b"\n <!DOCTYPE html><html><form>Log in"), "is a web page .* check the URL, and the data set's token"),
        (whole(b"\xef\xbb\xbf<html>", "Content-Type: text/html"), "is a web page"),
    ],
    ids=["cut", "cut between chunks", "gzip", "zip", "login page", "page with a mark"],
)
def test_a_body_that_is_no_rows_is_refused_with_the_cause(sent: bytes, says: str, host: BlobHost, folder: Path) -> None:
    """And no part of it stays."""
    host.answers = [sent]
    with pytest.raises(DatasetError, match=says):
        fetch(host.url(), folder)
    assert list(folder.iterdir()) == []


@pytest.mark.parametrize(
    "sent",
    [
        whole(gzip.compress(ROWS), "Content-Encoding: gzip"),
        whole(ROWS, "Content-Type: text/html"),
        head() + ROWS,
        head("200 OK", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n0\r\n\r\n" % (len(ROWS), ROWS),
    ],
    ids=["compressed on the way", "wrong type", "without a length", "chunks"],
)
def test_rows_are_taken_however_they_are_sent(sent: bytes, host: BlobHost, folder: Path) -> None:
    """Compressed on the way, under a wrong type, without a length, in chunks."""
    host.answers = [sent]
    assert fetch(host.url(), folder) == ROWS

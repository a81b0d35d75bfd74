"""A scripted stand-in for Auth0: the login page and the token endpoint, over TLS, with the rules of OAuth and PKCE.

It is a real server on a free port. A refresh token is good once where it rotates, as Auth0's are. What it issues, the
stand-in for Arkor Cloud accepts.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import html
import json
import socket
import ssl
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest
import trustme

from tests.support.cloud import Cloud, _Handler
from tests.support.contract import Answer, Late, Recorded, Stream

TOKEN = "/oauth/token"
CLIENT_ID = "arkor-cli"
AUDIENCE = "https://api.example.com/"
ORG = "account-org"

_PAGE = """\
<!doctype html><title>Login</title><link rel="icon" href="data:,">
<form method="post" action="/decision"><input type="hidden" name="query" value="{query}">
<button id="authorize" name="allow" value="yes">Authorize</button>
<button id="deny" name="allow" value="">Deny</button></form>
"""


class Auth0(Cloud):
    """The stand-in. Use it as a context manager.

    Args:
        cloud: accepts the tokens that are issued here, and tells clients to log in here.
        folder: gets the certificate of the authority that vouches for it.
        ports: where the browser may come back to.

    Attributes:
        domain: its host and port.
        authority: the file with that certificate.
        rotates: whether a refresh token is good once.
        offline: whether there are refresh tokens.
        lifetime_s: how long an access token is good, as it says.
    """

    def __init__(self, cloud: Cloud, folder: Path, ports: tuple[int, ...] = ()) -> None:
        authority = trustme.CA()
        self.authority = folder / "authority.pem"
        authority.cert_pem.write_to_path(str(self.authority))
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1", "localhost").configure_cert(self._tls)
        super().__init__()
        self.domain = f"127.0.0.1:{self.port}"
        self.rotates = self.offline = True
        self.lifetime_s = 86400
        self._cloud = cloud
        self._ports = ports
        self._issued = 0
        self._codes: dict[str, Mapping[str, str]] = {}
        self._refresh_tokens: set[str] = set()
        cloud.oauth = {
            "auth0Domain": self.domain,
            "clientId": CLIENT_ID,
            "audience": AUDIENCE,
            "callbackPorts": list(ports),
        }

    def __enter__(self) -> Auth0:
        return self

    def login(self, *, expires_in: float = 86400) -> dict[str, Any]:
        """Return the file of somebody who has logged in."""
        tokens = self._issue()
        return {
            "mode": "oauth",
            "accessToken": tokens["access_token"],
            "refreshToken": tokens["refresh_token"],
            "expiresAt": int(time.time() + expires_in),
            "auth0Domain": self.domain,
            "audience": AUDIENCE,
            "clientId": CLIENT_ID,
            "arkorCloudApiUrl": self._cloud.url,
        }

    def revoke(self) -> None:
        """Refuse every refresh token that was issued so far."""
        self._refresh_tokens.clear()

    @property
    def renewals(self) -> list[dict[str, str]]:
        """The forms of the refreshes that were asked for, in order."""
        forms = [dict(parse_qsl(item.body.decode())) for item in self.calls("POST", TOKEN)]
        return [form for form in forms if form["grant_type"] == "refresh_token"]

    # How it serves

    def _wrapped(self, listener: socket.socket) -> socket.socket:
        return self._tls.wrap_socket(listener, server_side=True, do_handshake_on_connect=False)

    def _serve_as_usual(self, handler: _Handler, request: Recorded, scripted: Late | Stream | None) -> None:
        with self._lock:
            answer = self._answer_to(request)
        if isinstance(scripted, Late):
            self._hold(scripted.gate)
        handler.answer(answer)

    def _answer_to(self, request: Recorded) -> Answer:
        form = dict(parse_qsl(request.body.decode(), keep_blank_values=True))
        match request.method, request.path:
            case "GET", "/authorize":
                return self._page(request)
            case "POST", "/decision":
                return self._decide(form)
            case "POST", "/oauth/token":
                return self._token(form)
        return Answer(status=404)

    def _page(self, request: Recorded) -> Answer:
        query, back = request.query, urlsplit(request.query["redirect_uri"])
        asked = (query["response_type"], query["client_id"], query["audience"], query["code_challenge_method"])
        good = asked == ("code", CLIENT_ID, AUDIENCE, "S256") and "offline_access" in query["scope"].split()
        if not good or back.hostname != "127.0.0.1" or back.port not in self._ports or back.path != "/callback":
            return Answer(status=400, body=b"Bad request")
        page = _PAGE.format(query=html.escape(json.dumps(query)))
        return Answer(body=page.encode(), headers={"Content-Type": "text/html"})

    def _decide(self, form: Mapping[str, str]) -> Answer:
        query = json.loads(form["query"])
        back = {"error": "access_denied", "error_description": "User did not authorize the request"}
        if form["allow"]:
            code = f"secret-code-{len(self._codes) + 1}"
            self._codes[code] = query
            back = {"code": code}
        where = f"{query['redirect_uri']}?{urlencode({**back, 'state': query['state']})}"
        return Answer(status=302, headers={"Location": where})

    def _token(self, form: Mapping[str, str]) -> Answer:
        if form["client_id"] != CLIENT_ID:
            return _refusal("invalid_client", "Unknown client")
        if form["grant_type"] == "refresh_token":
            return self._refresh(form["refresh_token"])
        query = self._codes.pop(form["code"], None)
        digest = base64.urlsafe_b64encode(hashlib.sha256(form["code_verifier"].encode()).digest()).rstrip(b"=")
        if query is None or digest.decode() != query["code_challenge"] or form["redirect_uri"] != query["redirect_uri"]:
            return _refusal("invalid_grant", "Invalid authorization code")
        return Answer(body=self._issue())

    def _refresh(self, token: str) -> Answer:
        if token not in self._refresh_tokens:
            return _refusal("invalid_grant", f"Unknown or invalid refresh token {token}.")
        issued = self._issue()
        if self.rotates:
            self._refresh_tokens.remove(token)
        else:
            del issued["refresh_token"]
        return Answer(body=issued)

    def _issue(self) -> dict[str, Any]:
        self._issued += 1
        access, refresh = f"secret-access-{self._issued}", f"secret-refresh-{self._issued}"
        self._cloud.know(access, ORG)
        tokens: dict[str, Any] = {"access_token": access, "token_type": "Bearer", "expires_in": self.lifetime_s}
        if self.offline:
            self._refresh_tokens.add(refresh)
            tokens["refresh_token"] = refresh
        return tokens


def _refusal(error: str, description: str) -> Answer:
    return Answer(status=403, body={"error": error, "error_description": description})


def free_ports(count: int = 2) -> tuple[int, ...]:
    """Return ports that nobody listens on."""
    with contextlib.ExitStack() as opened:
        taken = [opened.enter_context(socket.socket()) for _ in range(count)]
        for one in taken:
            one.bind(("127.0.0.1", 0))
        return tuple(int(one.getsockname()[1]) for one in taken)


@contextlib.contextmanager
def trusted_auth0(cloud: Cloud, folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Auth0]:
    """Run a stand-in whose certificate this test and the processes that it starts accept."""
    with Auth0(cloud, folder, free_ports()) as running:
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(running.authority))
        yield running

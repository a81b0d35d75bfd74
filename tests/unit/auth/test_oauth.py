"""The OAuth exchange: what is asked, what an answer may look like, and that nothing secret gets anywhere else."""

from __future__ import annotations

import base64
import hashlib
import logging
import time
import traceback
from typing import Any
from urllib.parse import parse_qs, parse_qsl, urlsplit

import pytest

from arkor.auth import oauth
from arkor.auth.credentials import OAuthCredentials, parse_credentials
from arkor.auth.oauth import Authorization, OAuthConfig, renewed, request_oauth_config
from arkor.errors import ArkorError, CloudApiError, ConnectionFailed, CredentialsError
from tests.support.auth0 import AUDIENCE, CLIENT_ID, TOKEN, Auth0
from tests.support.cloud import Cloud
from tests.support.contract import Answer

CONFIG = "/v1/auth/cli/config"
CODE = "secret-code"


def configured(cloud: Cloud) -> OAuthConfig:
    """Return how accounts log in, which is known."""
    config = request_oauth_config(cloud.url)
    assert config is not None
    return config


def authorization(cloud: Cloud) -> Authorization:
    """Return a login that is under way."""
    return Authorization(configured(cloud), "http://127.0.0.1:9999/callback", "secret-state")


def known(auth0: Auth0) -> OAuthCredentials:
    """Return the credentials of somebody who has logged in."""
    credentials = parse_credentials({**auth0.login(), "newKey": 1})
    assert isinstance(credentials, OAuthCredentials)
    return credentials


def everything_said(exc: BaseException) -> str:
    """Return all that an exception, and those it wraps, show of themselves."""
    chain: list[BaseException | None] = [exc, exc.__cause__, exc.__context__]
    shown_parts = [f"{item!r} {item} {getattr(item, 'args', '')}" for item in chain]
    return " ".join([*shown_parts, *traceback.format_exception(exc)])


# How to log in


def test_a_backend_says_how_accounts_log_in(cloud: Cloud, auth0: Auth0) -> None:
    """Without a token; keys of later versions are kept."""
    cloud.oauth = {**(cloud.oauth or {}), "newKey": 1}
    config = configured(cloud)
    assert (config.auth0_domain, config.client_id, config.audience) == (auth0.domain, CLIENT_ID, AUDIENCE)
    assert len(config.callback_ports) == 2
    assert config.extra == {"newKey": 1}
    assert "authorization" not in cloud.requests[0].headers


@pytest.mark.parametrize("missing", ["auth0Domain", "clientId", "audience"])
@pytest.mark.parametrize("value", [None, "", 3])
def test_nulls_mean_that_there_are_no_accounts(cloud: Cloud, missing: str, value: object) -> None:
    """Each of the three is needed."""
    body: dict[str, Any] = {"auth0Domain": "d", "clientId": "c", "audience": "a", "callbackPorts": [1], missing: value}
    cloud.answer("GET", CONFIG, Answer(body=body))
    assert request_oauth_config(cloud.url) is None
    assert request_oauth_config(cloud.url) is None  # all null, as the stand-in says by itself


@pytest.mark.parametrize("status", [404, 405, 501])
def test_a_backend_without_the_call_has_no_accounts(cloud: Cloud, status: int) -> None:
    """An error of another kind is one."""
    cloud.answer("GET", CONFIG, Answer(status=status), Answer(status=403, body={"error": "closed"}))
    assert request_oauth_config(cloud.url) is None
    with pytest.raises(CloudApiError, match="closed"):
        request_oauth_config(cloud.url)


@pytest.mark.parametrize(
    ("ports", "usable"),
    [([4180, 4181], (4180, 4181)), ([0, 65536, -1, "80", True, None, 80.0], (80,)), (None, ()), ("80", ()), ({}, ())],
)
def test_only_ports_are_ports(cloud: Cloud, auth0: Auth0, ports: object, usable: tuple[int, ...]) -> None:
    """Whatever else the backend names."""
    cloud.oauth = {**(cloud.oauth or {}), "callbackPorts": ports}
    assert configured(cloud).callback_ports == usable


# The login page


def test_the_login_page_is_asked_for_as_the_contract_says(cloud: Cloud, auth0: Auth0) -> None:
    """Scopes, audience, state, and the hash of a verifier that stays here."""
    login = authorization(cloud)
    parts = urlsplit(login.url)
    assert (parts.scheme, parts.netloc, parts.path) == ("https", auth0.domain, "/authorize")
    assert {key: values for key, (values,) in parse_qs(parts.query).items()} == {
        "response_type": "code",
        "client_id": CLIENT_ID,
        "redirect_uri": "http://127.0.0.1:9999/callback",
        "scope": "openid profile email offline_access",
        "audience": AUDIENCE,
        "state": "secret-state",
        "code_challenge": base64.urlsafe_b64encode(hashlib.sha256(login.verifier.encode()).digest()).decode()[:-1],
        "code_challenge_method": "S256",
    }
    assert "+" not in parts.query
    assert login.verifier not in login.url


def test_no_two_logins_share_a_verifier(cloud: Cloud, auth0: Auth0) -> None:
    """It is as long as RFC 7636 wants it, and never shown."""
    one, other = authorization(cloud), authorization(cloud)
    assert one.verifier != other.verifier
    assert 43 <= len(one.verifier) <= 128
    assert one.verifier not in repr(one)
    assert "secret-state" not in repr(one)


@pytest.mark.parametrize("domain", ["", "evil.example.com/x?", "user@host", "a b", "host\r\nX: 1", "[::1]", "é.com"])
def test_a_domain_that_is_none_gets_nothing(auth0: Auth0, cloud: Cloud, domain: str) -> None:
    """A backend's word is not put into an address unseen."""
    config = OAuthConfig(auth0_domain=domain, client_id="c", audience="a")
    login = Authorization(config, "http://127.0.0.1:1/callback", "state")
    with pytest.raises(CredentialsError, match="is not a domain"):
        _ = login.url
    with pytest.raises(CredentialsError, match="is not a domain"):
        login.exchange("code")


# The exchange


def test_a_code_is_exchanged_for_credentials(cloud: Cloud, auth0: Auth0) -> None:
    """As a form, without a token, and it expires when the provider says."""
    tokens = {"access_token": "secret-a", "refresh_token": "secret-r", "expires_in": 3600}
    auth0.answer("POST", TOKEN, Answer(body=tokens))
    login, before = authorization(cloud), time.time()
    credentials = login.exchange("secret-code")
    (call,) = auth0.requests
    assert "authorization" not in call.headers
    assert call.headers["content-type"] == "application/x-www-form-urlencoded"
    assert dict(parse_qsl(call.body.decode())) == {
        "grant_type": "authorization_code",
        "client_id": CLIENT_ID,
        "code": "secret-code",
        "code_verifier": login.verifier,
        "redirect_uri": "http://127.0.0.1:9999/callback",
    }
    assert (credentials.access_token, credentials.refresh_token) == ("secret-a", "secret-r")
    assert before + 3599 <= credentials.expires_at <= time.time() + 3600
    assert (credentials.auth0_domain, credentials.audience, credentials.client_id) == (
        *(auth0.domain, AUDIENCE),
        CLIENT_ID,
    )
    assert "secret" not in repr(credentials)


@pytest.mark.parametrize("refresh", [{}, {"refresh_token": None}, {"refresh_token": ""}, {"refresh_token": 3}])
def test_an_exchange_without_a_refresh_token_names_the_scope(cloud: Cloud, auth0: Auth0, refresh: Any) -> None:
    """Such a login would end within the day, in the middle of a wait."""
    auth0.answer("POST", TOKEN, Answer(body={"access_token": "secret-a", "expires_in": 1, **refresh}))
    with pytest.raises(CredentialsError, match="offline_access") as raised:
        authorization(cloud).exchange(CODE)
    assert "secret" not in everything_said(raised.value)


@pytest.mark.parametrize("expires_in", [None, "soon", -1, 0, 1e999, [], True])
def test_a_lifetime_that_is_none_is_taken_as_short(cloud: Cloud, auth0: Auth0, expires_in: object) -> None:
    """Too short a guess costs a refresh, too long a one an error."""
    tokens = {"access_token": "a", "refresh_token": "r", "expires_in": expires_in}
    auth0.answer("POST", TOKEN, Answer(body=tokens))
    lasts_s = authorization(cloud).exchange("code").expires_at - time.time()
    assert 500 < lasts_s <= 600


# The refresh


def test_a_refresh_keeps_what_it_does_not_change(cloud: Cloud, auth0: Auth0) -> None:
    """New tokens and a new end; the rest, unknown keys too, as it was."""
    old = known(auth0)
    new = renewed(old)
    assert (new.access_token, new.refresh_token) == ("secret-access-2", "secret-refresh-2")
    assert (new.extra, new.arkor_cloud_api_url, new.audience) == ({"newKey": 1}, cloud.url, AUDIENCE)
    assert auth0.renewals == [
        {"grant_type": "refresh_token", "client_id": CLIENT_ID, "refresh_token": "secret-refresh-1"}
    ]
    assert "authorization" not in auth0.requests[0].headers


def test_a_refresh_without_a_new_refresh_token_keeps_the_old_one(auth0: Auth0) -> None:
    """Where they do not rotate."""
    auth0.rotates = False
    assert renewed(known(auth0)).refresh_token == "secret-refresh-1"


def test_a_refused_refresh_is_told_in_the_providers_words(auth0: Auth0) -> None:
    """But for the token, which the stand-in repeats."""
    credentials = known(auth0)
    auth0.revoke()
    with pytest.raises(CredentialsError) as raised:
        renewed(credentials)
    assert str(raised.value) == (f"{auth0.domain} refused it (invalid_grant: Unknown or invalid refresh token ….).")
    assert "secret" not in everything_said(raised.value)


@pytest.mark.parametrize(
    "answer",
    [
        Answer(status=500),
        Answer(status=503, body={"error": "server_error"}),
        Answer(status=429, body={"error": "too_many_requests"}),
        Answer(status=400, body={"error": "temporarily_unavailable"}),
        Answer(status=403, body=b"<html>a proxy's page</html>"),
        Answer(status=400, body={"error": {"odd": 1}}),
        Answer(status=400, body=b"[" * 100_000),
        Answer(body=b"<html>a captive portal</html>"),
        Answer(body={"access_token": 3}),
        Answer(body=[]),
        Answer(status=204),
        Answer(cut=0),
        Answer(cut=30),
        Answer(body={"access_token": "a"}, cut=-5),
    ],
    ids=range(14),
)
def test_what_is_no_refusal_of_the_provider_may_be_tried_again(auth0: Auth0, answer: Answer) -> None:
    """It is a ConnectionFailed of which the backend has seen nothing."""
    credentials = known(auth0)
    auth0.answer("POST", TOKEN, answer)
    with pytest.raises(ConnectionFailed) as raised:
        renewed(credentials)
    assert raised.value.sent is False
    assert "secret" not in everything_said(raised.value)


def test_a_provider_that_is_away_is_named(auth0: Auth0) -> None:
    """Without what was meant for it."""
    credentials = known(auth0)
    with auth0.away(), pytest.raises(ConnectionFailed, match=f"https://{auth0.domain}") as raised:
        renewed(credentials)
    assert "secret" not in everything_said(raised.value)


def test_a_certificate_of_somebody_else_gets_no_token(auth0: Auth0, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is sent."""
    credentials = known(auth0)
    monkeypatch.delenv("REQUESTS_CA_BUNDLE")
    with pytest.raises(ConnectionFailed, match="TLS"):
        renewed(credentials)
    assert auth0.requests == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_of_the_token_endpoint_is_not_followed(auth0: Auth0, cloud: Cloud, status: int) -> None:
    """Its target would get the refresh token."""
    credentials = known(auth0)
    with Cloud() as other:
        auth0.answer("POST", TOKEN, Answer(status=status, headers={"Location": f"{other.url}{TOKEN}"}))
        with pytest.raises(ConnectionFailed):
            renewed(credentials)
        assert other.requests == []


def test_netrc_never_speaks_for_the_user(auth0: Auth0, monkeypatch: pytest.MonkeyPatch) -> None:
    """A password for the provider's host is not sent."""
    netrc = auth0.authority.with_name("netrc")
    netrc.write_text("machine 127.0.0.1 login user password private\n")
    netrc.chmod(0o600)
    monkeypatch.setenv("NETRC", str(netrc))
    renewed(known(auth0))
    assert "authorization" not in auth0.requests[0].headers


def test_no_token_reaches_the_log(auth0: Auth0, cloud: Cloud, caplog: pytest.LogCaptureFixture) -> None:
    """Not at any level, of any library."""
    credentials = known(auth0)
    with caplog.at_level(logging.DEBUG):
        renewed(credentials)
        auth0.revoke()
        with pytest.raises(ArkorError):
            renewed(credentials)
    assert caplog.records
    assert "secret" not in caplog.text


def test_the_answers_of_the_provider_are_never_shown() -> None:
    """Not by the repr of what is made of them."""
    tokens = oauth._tokens({"access_token": "secret-a", "refresh_token": "secret-r"})
    assert "secret" not in repr(tokens)

"""What every request is checked for before it reaches a route.

Protocol: docs/protocol.md, "Addressing a backend" and "Self-hosted backend".
"""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from flask import request

from arkor.backend.routes.access import backend
from arkor.protocol.proof import port_of
from arkor.serving.refusal import Refusal

# A page that a DNS answer has pointed at this machine still sends its own name here.
_LOOPBACK = re.compile(r"(?:127\.0\.0\.1|localhost|\[::1\])(?::\d{1,5})?", re.IGNORECASE)
_SUPPORTED_RANGE = ">=0.1.0"


def _is_advertised(host: str, url: str) -> bool:
    """Whether a ``Host`` is the one of an address, with its port or without a port that is the usual one."""
    own = urlsplit(url)
    try:
        return (urlsplit(f"//{host}").hostname, port_of(f"{own.scheme}://{host}")) == (own.hostname, port_of(url))
    except ValueError:  # no port, or no address
        return False


def check_request() -> None:
    """Refuse a request that a web page could have made, or that comes while the backend stops.

    Raises:
        Refusal: 403 for a foreign ``Host``, 426 without ``X-Arkor-Client``, 503 while stopping.
    """
    host = request.headers.get("Host", "")
    if not _LOOPBACK.fullmatch(host) and not _is_advertised(host, backend().url):
        raise Refusal(403, "This backend answers only to 127.0.0.1, localhost and [::1], and to its --advertise-url.")
    if request.endpoint == "health.healthz":
        return
    if request.endpoint != "health.readyz" and not request.headers.get("X-Arkor-Client"):
        raise Refusal(
            426,
            "sdk_version_unsupported",
            currentVersion=None,
            supportedRange=_SUPPORTED_RANGE,
            upgrade="pip install --upgrade arkor",
        )
    if backend().stopping and request.blueprint != "internal":  # workers still say what they saved
        raise Refusal(503, "The backend is stopping.", headers={"Retry-After": "5"})

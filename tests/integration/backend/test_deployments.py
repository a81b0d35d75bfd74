"""Deployments, which this backend does not have yet."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from arkor import CloudApiClient, Scope, UnsupportedByBackend
from tests.support.backend import Client


@pytest.mark.parametrize(
    "call",
    [
        lambda client, scope: client.list_deployments(scope),
        lambda client, scope: client.create_deployment(scope, slug="ab", target="m"),
    ],
    ids=["list", "create"],
)
def test_the_client_says_that_there_are_none(client: Client, call: Callable[[CloudApiClient, Scope], Any]) -> None:
    """By the name of the feature, with who has it."""
    asking = CloudApiClient(client.url, token=client.token)
    with pytest.raises(UnsupportedByBackend, match=r"does not support deployments\. Arkor Cloud does"):
        call(asking, Scope(client.scope["orgSlug"], client.scope["projectSlug"]))
    asking.close()

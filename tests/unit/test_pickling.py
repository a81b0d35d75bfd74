"""What holds a token or a connection stays in its process; what was measured does not have to."""

from __future__ import annotations

import copy
import pickle
from pathlib import Path
from typing import Any

import pytest

from arkor import CloudApiClient, HuggingFaceDataset, Trainer, TrainingResult
from arkor.auth.credentials import AnonymousCredentials, OAuthCredentials
from arkor.auth.identity import AnonymousToken, Identity
from arkor.auth.refresh import RenewedToken
from arkor.http.bearer import FixedToken
from arkor.protocol.jobs import AdapterRef, TrainingJob
from arkor.trainer.callbacks import CheckpointContext

URL = "http://127.0.0.1:9"
TOKEN = "s3cret"
ANONYMOUS = AnonymousCredentials(token=TOKEN, anonymous_id="a", org_slug="o")
ACCOUNT = OAuthCredentials(
    access_token=TOKEN, refresh_token=TOKEN, expires_at=0, auth0_domain="d", audience="a", client_id="c"
)
HOLDERS = [
    ANONYMOUS,
    ACCOUNT,
    AnonymousToken(TOKEN, "a", "o"),
    FixedToken(TOKEN),
    RenewedToken(ACCOUNT, Path("credentials.json"), lambda _: None),
    Identity(TOKEN),
    CloudApiClient(URL, token=TOKEN),
]


def _trainer() -> Trainer:
    client = CloudApiClient(URL, token=TOKEN)
    return Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b"), client=client)


@pytest.mark.parametrize("thing", HOLDERS, ids=lambda thing: type(thing).__name__)
def test_a_thing_with_a_token_is_not_pickled(thing: Any) -> None:
    """The error says what to do instead; a copy in the same process is the thing itself."""
    for protocol in range(pickle.HIGHEST_PROTOCOL + 1):
        with pytest.raises(TypeError, match=rf"^{type(thing).__name__} .* cannot be pickled\. \w.*\.$") as raised:
            pickle.dumps(thing, protocol)
        assert TOKEN not in str(raised.value)
    assert copy.copy(thing) is copy.deepcopy(thing) is thing


def test_a_trainer_is_neither_pickled_nor_copied() -> None:
    """It stands for one job."""
    trainer = _trainer()
    with pytest.raises(TypeError, match=r"Trainer\.attach\(trainer\.job\.id\)"):
        pickle.dumps(trainer)
    for way in (copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="make another Trainer"):
            way(trainer)


def test_a_pickled_result_or_context_leaves_its_connection_behind() -> None:
    """A copy in the same process keeps it."""
    job, ask = TrainingJob(id="job_1"), _trainer()._starter.ask
    for thing in (
        TrainingResult(job, ask=ask),
        CheckpointContext(2, AdapterRef("checkpoint", "job_1", 2), (), job, ask=ask),
    ):
        pickled = pickle.dumps(thing)
        assert TOKEN.encode() not in pickled
        again = pickle.loads(pickled)
        assert again == thing
        assert again._ask is None
        assert copy.copy(thing) is copy.deepcopy(thing) is thing

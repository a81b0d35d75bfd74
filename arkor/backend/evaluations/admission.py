"""Whether an evaluation can be made as it was asked for, decided before it is queued.

Protocol: docs/protocol.md, "Evaluations": the 422 of ``POST /v1/jobs/:id/evaluations``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from arkor.backend.inference.targets import find_adapter
from arkor.backend.jobs.admission import admit_source
from arkor.backend.settings import Settings
from arkor.backend.store import Store
from arkor.backend.store.tenants import Project
from arkor.errors import ConfigError
from arkor.evaluation.scorers import named_scorers
from arkor.protocol.evaluations import EvaluationOptions
from arkor.protocol.jobs import AdapterRef
from arkor.serving.refusal import Refusal


def admit_evaluation(given: Mapping[str, Any], project: Project, store: Store, settings: Settings) -> EvaluationOptions:
    """Check the options of an evaluation.

    Args:
        given: in wire names, as the client sent them.
        project: whose evaluation it would be.
        store: the uploaded data sets, and the jobs.
        settings: where the jobs' folders are, and which URLs are allowed.

    Raises:
        Refusal: 422, it names the option and says what to do; 404, 409 or 410, as for a chat with that adapter.
    """
    try:
        options = EvaluationOptions.from_wire(given)
        if options.scorers is not None:
            named_scorers(options.scorers)
        if options.source is not None:
            admit_source("rows", options.source, project, store.datasets, settings)
    except ConfigError as exc:
        raise Refusal(422, str(exc)) from exc
    against = AdapterRef.from_wire(options.against)
    if against is not None:
        find_adapter(against, project, store, settings)
    return options

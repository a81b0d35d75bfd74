"""The HTTP routes, one module a resource."""

from __future__ import annotations

from arkor.backend.routes import (
    artifacts,
    auth,
    datasets,
    evaluations,
    exports,
    health,
    imports,
    inference,
    internal,
    jobs,
    models,
    previews,
    projects,
    stream,
)

BLUEPRINTS = tuple(
    module.blueprint
    for module in (
        *(health, auth, projects, jobs, stream, datasets, artifacts, models, inference, previews, evaluations, exports),
        *(imports, internal),
    )
)

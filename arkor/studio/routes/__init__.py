"""The HTTP routes, one module a resource."""

from __future__ import annotations

from arkor.studio.routes import (
    about,
    downloads,
    evaluations,
    events,
    exports,
    inference,
    jobs,
    manifest,
    page,
    previews,
    train,
)

BLUEPRINTS = tuple(
    module.blueprint
    for module in (page, manifest, train, about, jobs, events, evaluations, exports, downloads, inference, previews)
)

"""The HTTP routes, one module a resource."""

from __future__ import annotations

from arkor.studio.routes import manifest, page, train

BLUEPRINTS = tuple(module.blueprint for module in (page, manifest, train))

"""The HTTP routes, one module a resource."""

from __future__ import annotations

from arkor.studio.routes import page

BLUEPRINTS = (page.blueprint,)

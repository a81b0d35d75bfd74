"""How a route reaches the running Studio."""

from __future__ import annotations

from typing import cast

from flask import current_app

from arkor.studio.parts import Studio

EXTENSION = "arkor-studio"


def studio() -> Studio:
    """Return the Studio that this request is for."""
    return cast(Studio, current_app.extensions[EXTENSION])

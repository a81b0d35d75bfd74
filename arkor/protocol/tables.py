"""Tables of pandas, which is used only where somebody asks for one."""

from __future__ import annotations

import importlib
from typing import Any

from arkor.errors import ArkorError


def require_pandas() -> Any:
    """Return the package pandas.

    Raises:
        ArkorError: pandas 2 or newer is not installed.
    """
    try:
        return importlib.import_module("pandas")
    except ImportError as exc:
        raise ArkorError("to_pandas() needs pandas. Install it with: pip install 'pandas>=2'") from exc

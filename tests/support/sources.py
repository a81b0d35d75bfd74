"""Projects of a few source files, written for a test."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path


def write_sources(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Write files below a folder, and return the folder."""
    for name, content in files.items():
        file = root / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


# An entry that reaches others in every way there is, and says in VALUE what it found.
EVERY_WAY: Mapping[str, str] = {
    "src/arkor/index.py": (
        "from __future__ import annotations\n"
        "from typing import TYPE_CHECKING\n"
        "import json\n"
        "from . import settings\n"
        "from .settings import NAME\n"
        "from .parts import *\n"
        "from .parts.deep.deeper import DEEP\n"
        "from ..shared import SHARED\n"
        "if TYPE_CHECKING:\n"
        "    from .only_types import Thing\n"
        "def later():\n"
        "    from .late import LATE\n"
        "    return LATE\n"
        "VALUE = [settings.NAME, NAME, PART, first.FIRST, DEEP, SHARED, later(), json.dumps(1), __name__ != 'index']\n"
    ),
    "src/arkor/settings.py": "NAME = 'name'\n",
    "src/arkor/late.py": "from . import settings\nLATE = settings.NAME + ' late'\n",
    "src/arkor/parts/__init__.py": "__all__ = ['PART', 'first']\nPART = 'part'\n",
    "src/arkor/parts/first.py": "FIRST = 'first'\n",
    "src/arkor/parts/second.py": "raise ImportError('nobody asked for it')\n",
    "src/arkor/parts/deep/__init__.py": "",
    "src/arkor/parts/deep/deeper.py": "from ... import settings\nDEEP = settings.NAME + ' deep'\n",
    "src/shared.py": "SHARED = 'shared'\n",
    "src/arkor/unused.py": "raise ImportError('nobody asked for it')\n",
}
FOUND = ["name", "name", "part", "first", "name deep", "shared", "name late", "1", True]
REACHED = [
    "src/arkor/index.py",
    "src/arkor/late.py",
    "src/arkor/parts/__init__.py",
    "src/arkor/parts/deep/__init__.py",
    "src/arkor/parts/deep/deeper.py",
    "src/arkor/parts/first.py",
    "src/arkor/settings.py",
    "src/shared.py",
]

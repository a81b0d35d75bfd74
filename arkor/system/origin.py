"""The origin of this copy of arkor: the address that installs the same copy again.

Installers record it in ``direct_url.json`` (PEP 610), unless they took the copy from a package index by its name. arkor
is on no public index yet: there, its bare name would install somebody else's package.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import json
import re
import shlex
import sys
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit, urlunsplit
from urllib.request import url2pathname

NAME = "arkor"
_SETUP = ("pyproject.toml", "setup.py", "setup.cfg")
_VARIABLES = re.compile(r"\$\{[A-Za-z0-9_-]+\}(:\$\{[A-Za-z0-9_-]+\})?")  # of the environment; pip fills them in
_UNFIT = re.compile(r"[\s\"'<>\\]")  # in a requirement


class Origin(NamedTuple):
    """The source that a copy was installed from.

    Attributes:
        url: the source as a URL, without credentials.
        vcs: the version control system, such as ``git``; empty for a file or a folder.
        commit: the commit that was installed; empty without a version control system.
        revision: the branch or tag that was asked for; empty if there was none.
        subdirectory: the folder inside the source; empty for its root.
    """

    url: str
    vcs: str = ""
    commit: str = ""
    revision: str = ""
    subdirectory: str = ""

    @property
    def address(self) -> str:
        """The address as pip and uv take it, of this very commit."""
        return self._at(self.commit)

    @property
    def newest(self) -> str | None:
        """The address that has newer versions; None for a file, which has one version only."""
        if self.vcs:
            return self._at("" if self.commit.startswith(self.revision) else self.revision)
        file = _file(self.url)
        return self.address if file is not None and file.is_dir() else None

    def _at(self, revision: str) -> str:
        start = f"{self.vcs}+{self.url}" if self.vcs else self.url
        end = f"#subdirectory={self.subdirectory}" if self.subdirectory else ""
        return f"{start}{'@' * bool(revision)}{revision}{end}"


def origin(package: Path | None = None, search: Iterable[str] | None = None) -> Origin | None:
    """Return the origin of a copy of arkor; None if the copy does not record one that still exists.

    Args:
        package: the folder that arkor is imported from; by default this one.
        search: folders with metadata of packages; by default those of this Python.
    """
    folder = (package or Path(__file__).parents[1]).parent
    found = next(_recorded(folder, sys.path if search is None else search), None)
    if found is None and any((folder / name).is_file() for name in _SETUP):  # a checkout
        return Origin(folder.resolve().as_uri())
    return found


def requirement(extra: str = "") -> str | None:
    """Return the requirement that installs this copy, as in ``requirements.txt``; None if its origin is unknown.

    Args:
        extra: an extra to install with it, such as ``local``.
    """
    found = origin()
    return None if found is None else f"{NAME}{f'[{extra}]' * bool(extra)} @ {found.address}"


def install_command(extra: str) -> str:
    """Return the shell command that adds an extra to this copy."""
    return f"pip install {shlex.quote(requirement(extra) or f'{NAME}[{extra}]')}"


def _recorded(folder: Path, search: Iterable[str]) -> Iterator[Origin]:
    """Yield the origins that the metadata of this copy records; there may be metadata of other copies, too."""
    for distribution in importlib.metadata.distributions(name=NAME, path=[str(folder), *search]):
        with contextlib.suppress(OSError, ValueError, TypeError, KeyError, AttributeError):  # not as PEP 610 has it
            record = json.loads(distribution.read_text("direct_url.json") or "{}")
            if _is_of(folder, Path(str(distribution.locate_file(""))), record):
                found = _origin_of(record)
                if found is not None:
                    yield found


def _is_of(folder: Path, site: Path, record: Mapping[str, Any]) -> bool:
    """Say whether a record beside the metadata in ``site`` is about the copy in ``folder``."""
    if record.get("dir_info", {}).get("editable"):
        source = _file(record["url"])
        return source is not None and folder.resolve().is_relative_to(source.resolve())
    return bool(record) and site.resolve() == folder.resolve()


def _origin_of(record: Mapping[str, Any]) -> Origin | None:
    url = _without_credentials(record["url"])
    file = _file(url)
    if not url or _UNFIT.search(url) or (file is not None and not file.exists()):
        return None
    info = record.get("vcs_info", {})
    found = Origin(
        url=url,
        vcs=info.get("vcs", ""),
        commit=info.get("commit_id", ""),
        revision=info.get("requested_revision", ""),
        subdirectory=record.get("subdirectory", ""),
    )
    return None if _UNFIT.search(found.address) else found


def _without_credentials(url: str) -> str:
    """Return a URL without user, password and query, which may hold a token; empty if it is worth nothing without."""
    parts = urlsplit(url)
    user, _, host = parts.netloc.rpartition("@")
    is_harmless = _VARIABLES.fullmatch(user) or (parts.scheme.endswith("ssh") and ":" not in user)
    if not parts.scheme or parts.query:
        return ""
    netloc = parts.netloc if is_harmless else host
    path = parts.path.replace(" ", "%20")  # pip 23 writes the path of a local repository as it is
    return urlunsplit((parts.scheme, netloc, path, "", ""))


def _file(url: str) -> Path | None:
    parts = urlsplit(url)
    return Path(url2pathname(parts.path)) if parts.scheme == "file" else None

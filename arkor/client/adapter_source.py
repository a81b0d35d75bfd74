"""An adapter that was trained elsewhere: the two files of PEFT, in a folder or on the Hugging Face hub.

Protocol: docs/protocol.md, "Importing an adapter".
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import re
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import attrs

from arkor.client import hub
from arkor.errors import ConfigError, ModelError
from arkor.http.abort import AbortScope, check_scope
from arkor.protocol import wire
from arkor.protocol.checks import MAX_NAME_CHARS
from arkor.system.files import expand_home, open_regular
from arkor.text import first_line

CONFIG, WEIGHTS = FILES = ("adapter_config.json", "adapter_model.safetensors")

_PICKLED = "adapter_model.bin"
_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]{0,95}/[A-Za-z0-9][\w.-]{0,95}")
_CHUNK_BYTES = 1024 * 1024
_MAX_CONFIG_BYTES = 1024**2


@attrs.frozen(kw_only=True)
class AdapterSource:
    """An adapter whose files are on this machine.

    Attributes:
        folder: where they are.
        name: what the adapter is called: ``owner/name`` of the hub, or the folder's name.
        revision: the commit on the hub; None for a folder.
        base: the base model, as ``adapter_config.json`` names it; None if it names none.
    """

    folder: Path
    name: str
    revision: str | None = None
    base: str | None = None

    @property
    def job_name(self) -> str:
        """What the job is called if the user does not say."""
        return self.name.rpartition("/")[2][:MAX_NAME_CHARS].strip() or "adapter"


def find_adapter(source: str | Path, revision: str | None, project_dir: Path, limits: AbortScope) -> AdapterSource:
    """Return an adapter; one of the hub is fetched first, with the token of this process's environment.

    Args:
        source: a folder, or ``owner/name`` of the hub.
        revision: a branch, tag or commit of the hub; None for the newest.
        project_dir: where a relative path starts.
        limits: end the fetching.

    Raises:
        ConfigError: it is neither, or a folder has no revision.
        ModelError: a file is missing or cannot be read, or the hub does not hand it out.
        Aborted, WaitTimeout: as ``limits`` say.
    """
    folder = project_dir / expand_home(os.fspath(source))
    if folder.is_dir():
        if revision is not None:
            raise ConfigError("revision", f"is for the Hugging Face hub, and {source} is a folder: leave it out")
        found = AdapterSource(folder=folder, name=folder.resolve().name or str(folder))
    elif isinstance(source, str) and _HUB_NAME.fullmatch(source):
        found = _fetched(source, revision, limits)
    else:
        raise ConfigError(
            "source",
            f"{str(source)!r:.200} is neither a folder nor owner/name of the Hugging Face hub: name the folder that "
            f"has {CONFIG} and {WEIGHTS}",
        )
    return attrs.evolve(found, base=_base_of(found))


def _base_of(source: AdapterSource) -> str | None:
    names = {item.name for item in source.folder.iterdir()}
    for name in FILES:
        if name not in names:
            raise _missing(source.name, name, has_pickle=_PICKLED in names)
    try:
        with open_regular(source.folder / CONFIG) as file:
            config = json.loads(file.read(_MAX_CONFIG_BYTES))
    except (OSError, ValueError, RecursionError) as exc:
        raise ModelError(f"{CONFIG} of {source.name} cannot be read: {first_line(exc)}") from exc
    return wire.optional_text(wire.mapping(config).get("base_model_name_or_path")) or None


def _missing(source: str, name: str, *, has_pickle: bool) -> ModelError:
    if name == WEIGHTS and has_pickle:
        return ModelError(
            f"{source} has {_PICKLED}, a pickle, which can run any code when it is loaded, so it is never imported. "
            f"Make {WEIGHTS} of it with safetensors.torch.save_file(torch.load({_PICKLED!r}, weights_only=True), "
            f"{WEIGHTS!r})"
        )
    return ModelError(f"{source} has no {name}: name a folder that save_pretrained of PEFT has written")


def _fetched(source: str, revision: str | None, limits: AbortScope) -> AdapterSource:
    found = hub.fetch(source, revision, FILES, limits)
    if isinstance(found, hub.Lacking):
        raise _missing(source, found.missing, has_pickle=_PICKLED in found.files)
    return AdapterSource(folder=found.folder, name=source, revision=found.revision)


class AdapterArchive:
    """The two files in a tar, as the body of a request: each iteration begins at the first byte.

    Args:
        file: an open temporary file, which gets the tar.
        source: the adapter.

    Attributes:
        sha256: of the tar, lowercase hex.

    Raises:
        ModelError: a file cannot be read.
    """

    def __init__(self, file: IO[bytes], source: AdapterSource) -> None:
        self._file = file
        with tarfile.open(fileobj=file, mode="w", format=tarfile.USTAR_FORMAT) as tar:
            for name in FILES:
                _add(tar, source, name)
        self._size = file.seek(0, os.SEEK_END)
        self.sha256 = self._digest()

    def __len__(self) -> int:
        return self._size

    def __iter__(self) -> Iterator[bytes]:
        self._file.seek(0)
        while chunk := self._file.read(_CHUNK_BYTES):
            check_scope()
            yield chunk

    def tell(self) -> int:
        """Say that it is at its beginning, for a request that is made again."""
        return 0

    def seek(self, position: int, whence: int = 0) -> int:
        """Do nothing: the next iteration begins at the beginning."""
        return 0

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for chunk in self:
            digest.update(chunk)
        return digest.hexdigest()


def _add(tar: tarfile.TarFile, source: AdapterSource, name: str) -> None:
    try:
        with open_regular(source.folder / name) as file:
            member = tarfile.TarInfo(name)  # no time, owner or folder of this machine goes in
            member.size = file.seek(0, io.SEEK_END)
            file.seek(0)
            tar.addfile(member, file)
    except (OSError, ValueError) as exc:
        raise ModelError(f"{name} of {source.name} cannot be read: {first_line(exc)}") from exc

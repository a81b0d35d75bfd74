"""The Hugging Face hub, asked with the token of the caller's environment: uploading exports, fetching adapters.

A process of its own asks, so that a timeout, an abort event or Ctrl-C ends it at once::

    python -m arkor.client.hub whoami                              {"name"}: who the token belongs to
    python -m arkor.client.hub upload FOLDER REPO private|public   {"url"}: the page of the repository
    python -m arkor.client.hub fetch REPO REVISION NAME...         {"folder", "revision"}, or {"missing", "files"}

It prints a JSON object; what goes wrong is said on standard error. The token is found as all programs of the hub find
it: ``HF_TOKEN``, or what ``hf auth login`` stored. It is in no argument, no output and no file of arkor's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import attrs

from arkor.errors import ArkorError, ModelError
from arkor.http.abort import AbortScope
from arkor.system.processes import child, module_command
from arkor.text import first_line, last_lines

_LOOK_S = 0.2
_NO_TOKEN = (
    "The Hugging Face hub needs a token to upload: create one that may write at "
    "https://huggingface.co/settings/tokens, and set HF_TOKEN to it."
)


@attrs.frozen
class Fetched:
    """Files that were fetched.

    Attributes:
        folder: where they are, in the cache that all programs of the hub share.
        revision: the commit that they are of.
    """

    folder: Path
    revision: str


@attrs.frozen
class Lacking:
    """A repository that lacks a file.

    Attributes:
        missing: the file.
        files: those that there are.
    """

    missing: str
    files: Sequence[str]


def check_allowed(limits: AbortScope) -> None:
    """Find out whether the hub takes the token, before the work of minutes.

    Raises:
        ArkorError: it does not, there is none, or huggingface_hub is not installed.
        Aborted, WaitTimeout: as ``limits`` say.
    """
    _run(["whoami"], limits)


def upload(folder: Path, repo: str, *, private: bool, limits: AbortScope) -> str:
    """Upload a folder; return the address of its page. A second upload changes what differs.

    Args:
        folder: what to upload.
        repo: ``owner/name``; made if it is missing.
        private: whether a repository that is made is private; one that is there stays as it is.
        limits: end the upload.

    Raises:
        ArkorError: the hub refuses it, or cannot be reached.
        Aborted, WaitTimeout: as ``limits`` say.
    """
    url: str = _run(["upload", str(folder), repo, "private" if private else "public"], limits)["url"]
    return url


def fetch(repo: str, revision: str | None, names: Sequence[str], limits: AbortScope) -> Fetched | Lacking:
    """Fetch some files of a repository, all of the same commit.

    Args:
        repo: ``owner/name``.
        revision: a branch, tag or commit; None for the newest.
        names: the files.
        limits: end the fetching.

    Raises:
        ModelError: the hub does not hand them out, or cannot be reached; or huggingface_hub is not installed.
        Aborted, WaitTimeout: as ``limits`` say.
    """
    try:
        found = _run(["fetch", repo, revision or "", *names], limits)
    except ArkorError as exc:
        if type(exc) is not ArkorError:
            raise
        raise ModelError(f"{repo} cannot be fetched. {exc}") from exc
    if "missing" in found:
        return Lacking(found["missing"], found["files"])
    return Fetched(Path(found["folder"]), found["revision"])


def _run(arguments: Sequence[str], limits: AbortScope) -> dict[str, Any]:
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ArkorError("The Hugging Face hub needs the package huggingface_hub: pip install huggingface_hub")
    command = module_command("arkor.client.hub", *arguments)
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_VERBOSITY": "error"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        with child(command, stdout=said, stderr=complaints, env={**os.environ, **quiet}) as process:
            while _is_running(process):
                limits.check()
        said.seek(0)
        complaints.seek(0)
        if process.returncode != 0:
            raise ArkorError(last_lines(complaints.read().decode(errors="replace")) or "The hub's library failed.")
        found: dict[str, Any] = json.load(said)
        return found


def _is_running(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_LOOK_S)
    except subprocess.TimeoutExpired:
        return True
    return False


def _main(what: str, *arguments: str) -> None:
    from huggingface_hub import HfApi
    from huggingface_hub.errors import HfHubHTTPError, HTTPError, LocalEntryNotFoundError

    api = HfApi()
    calls: dict[str, Callable[..., dict[str, Any]]] = {"whoami": _whoami, "upload": _upload, "fetch": _fetch}
    try:
        answer = calls[what](api, *arguments)
    except HfHubHTTPError as exc:
        status, why = exc.response.status_code, exc.server_message or exc.response.reason_phrase
        advice = "the name and the revision, and HF_TOKEN" if what == "fetch" else "HF_TOKEN: may it write there?"
        sys.exit(f"The Hugging Face hub refuses it: {status} {why}. Check {advice}")
    except (HTTPError, LocalEntryNotFoundError, OSError) as exc:
        sys.exit(f"The Hugging Face hub cannot be reached at {api.endpoint}: {type(exc).__name__}: {first_line(exc)}")
    except Exception as exc:  # a library raises anything
        sys.exit(f"The Hugging Face hub's library failed: {type(exc).__name__}: {first_line(exc)}")
    print(json.dumps(answer))


def _whoami(api: Any) -> dict[str, Any]:
    from huggingface_hub import get_token

    if get_token() is None:
        sys.exit(_NO_TOKEN)
    return {"name": api.whoami()["name"]}


def _upload(api: Any, folder: str, repo: str, visibility: str) -> dict[str, Any]:
    made = api.create_repo(repo, private=visibility == "private", exist_ok=True)
    api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=f"{Path(folder).name}, by arkor")
    return {"url": str(made)}


def _fetch(api: Any, repo: str, revision: str, *names: str) -> dict[str, Any]:
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    pinned, file = revision or None, Path()
    for name in names:
        try:
            file = Path(api.hf_hub_download(repo, name, revision=pinned))
        except LocalEntryNotFoundError:
            raise
        except EntryNotFoundError:
            return {"missing": name, "files": api.list_repo_files(repo, revision=pinned)}
        pinned = file.parent.name  # the commit, so that all files are of the same one
    return {"folder": str(file.parent), "revision": pinned}


if __name__ == "__main__":
    _main(*sys.argv[1:])

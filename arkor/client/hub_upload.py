"""Uploading an export to the Hugging Face hub, with the token of the caller's environment.

A process of its own uploads, so that a timeout, an abort event or Ctrl-C ends it at once::

    python -m arkor.client.hub_upload whoami
    python -m arkor.client.hub_upload upload FOLDER REPO private|public

It prints a JSON object: ``{"name"}``, who the token belongs to, or ``{"url"}``, the page of the repository. What goes
wrong is said on standard error. The token is found as all programs of the hub find it: ``HF_TOKEN``, or what
``hf auth login`` stored. It is in no argument, no output and no file of arkor's.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from arkor.errors import ArkorError
from arkor.http.abort import AbortScope
from arkor.system.processes import child, module_command
from arkor.text import last_lines

_LOOK_S = 0.2
_NO_TOKEN = (
    "The Hugging Face hub needs a token to upload: create one that may write at "
    "https://huggingface.co/settings/tokens, and set HF_TOKEN to it."
)


def check_allowed(limits: AbortScope) -> None:
    """Find out whether the hub takes the token, before the work of minutes.

    Raises:
        ArkorError: it does not, there is none, or huggingface_hub is not installed.
        Aborted, WaitTimeout: as ``limits`` say.
    """
    if importlib.util.find_spec("huggingface_hub") is None:
        raise ArkorError("Uploading to the Hugging Face hub needs huggingface_hub: pip install huggingface_hub")
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


def _run(arguments: list[str], limits: AbortScope) -> dict[str, Any]:
    command = module_command("arkor.client.hub_upload", *arguments)
    quiet = {"HF_HUB_DISABLE_PROGRESS_BARS": "1", "HF_HUB_DISABLE_TELEMETRY": "1"}
    with tempfile.TemporaryFile() as said, tempfile.TemporaryFile() as complaints:
        with child(command, stdout=said, stderr=complaints, env={**os.environ, **quiet}) as process:
            while True:
                limits.check()
                try:
                    process.wait(_LOOK_S)
                    break
                except subprocess.TimeoutExpired:
                    continue
        said.seek(0)
        complaints.seek(0)
        if process.returncode != 0:
            raise ArkorError(last_lines(complaints.read().decode(errors="replace")) or "The upload to the hub failed.")
        found: dict[str, Any] = json.load(said)
        return found


def _main(what: str, *arguments: str) -> None:
    from huggingface_hub import HfApi, get_token
    from huggingface_hub.errors import HfHubHTTPError, HTTPError

    if get_token() is None:
        sys.exit(_NO_TOKEN)
    api = HfApi()
    try:
        if what == "whoami":
            print(json.dumps({"name": api.whoami()["name"]}))
            return
        folder, repo, visibility = arguments
        made = api.create_repo(repo, private=visibility == "private", exist_ok=True)
        api.upload_folder(repo_id=made.repo_id, folder_path=folder, commit_message=f"{Path(folder).name}, by arkor")
        print(json.dumps({"url": str(made)}))
    except HfHubHTTPError as exc:
        status = exc.response.status_code
        why = exc.server_message or exc.response.reason_phrase
        advice = " Check the token: may it write there?" if status in {401, 403} else ""
        sys.exit(f"The Hugging Face hub refuses it: {status} {why}.{advice}")
    except (HTTPError, OSError) as exc:
        sys.exit(f"The Hugging Face hub cannot be reached at {api.endpoint}: {type(exc).__name__}: {exc}")
    except Exception as exc:  # a library raises anything
        sys.exit(f"The Hugging Face hub's library failed: {type(exc).__name__}: {exc}")


if __name__ == "__main__":
    _main(*sys.argv[1:])

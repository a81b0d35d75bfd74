"""A chat process, asked as the processes that work on what jobs have made ask the server."""

from __future__ import annotations

import json
import subprocess
import threading
from collections.abc import Mapping
from concurrent.futures import Future
from types import TracebackType
from typing import Any

from arkor.backend.inference.request import read_request
from arkor.system.processes import module_command


class EngineLine:
    """Answers as ``ServerLine`` does, of one model. Use it as a context manager.

    Args:
        base: the base model's folder.
        adapter: the adapter's folder.
    """

    def __init__(self, base: str, adapter: str) -> None:
        self._base, self._adapter = base, adapter
        self._replies: list[Future[Mapping[str, Any]]] = []
        self._texts: dict[int, str] = {}

    def __enter__(self) -> EngineLine:
        self._process = subprocess.Popen(
            module_command("arkor.backend.inference_worker"), stdin=subprocess.PIPE, stdout=subprocess.PIPE
        )
        self._reader = threading.Thread(target=self._hear)
        self._reader.start()
        return self

    def __exit__(
        self, exc_type: type[BaseException] | None, exc: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        self._reader.join()
        for pipe in (self._process.stdin, self._process.stdout):
            assert pipe is not None  # PIPE
            pipe.close()

    def send(self, kind: str, *, candidate: str, **fields: Any) -> Future[Mapping[str, Any]]:
        """Ask something; see ``ServerLine.send``."""
        self._replies.append(Future())
        line = {
            "id": len(self._replies) - 1,
            "base": self._base,
            "adapter": {"name": self._adapter, "path": self._adapter},
            "request": read_request(fields["request"]).to_line() if "request" in fields else None,
            "score": fields if kind == "score" else None,
            "renders": kind == "render",
            "templateOptions": {},
            "escapeSpecialTokens": False,
            "isBackground": False,
            "dtype": None,
        }
        assert self._process.stdin is not None  # PIPE
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()
        return self._replies[-1]

    def _hear(self) -> None:
        assert self._process.stdout is not None  # PIPE
        for said in map(json.loads, self._process.stdout):
            number, reply = said["id"], self._replies[said["id"]]
            self._texts[number] = self._texts.get(number, "") + said.get("delta", "")
            if "rendered" in said:
                reply.set_result({"rendered": said["rendered"]["ids"]})
            elif "scored" in said:
                reply.set_result({"scored": said["scored"]})
            elif "done" in said:
                reason = said["done"]["finishReason"]
                reply.set_result({"answer": {"text": self._texts[number], "calls": [], "finishReason": reason}})
            elif "error" in said:
                reply.set_exception(AssertionError(said["error"]["message"]))

"""``python -m arkor.backend.export_worker.peer_llama_cpp FILE [ADAPTER]``: what llama.cpp makes of a GGUF file.

FILE is a whole model; ADAPTER is a GGUF adapter that is loaded beside it. ``peer`` has what is asked and answered.
llama.cpp's own server answers; it listens on this machine alone, and to this process alone.
"""

from __future__ import annotations

import secrets
import sys
from collections.abc import Mapping, Sequence
from typing import Any

import requests
import xllamacpp

from arkor.backend.export_worker.peer import TOP, serve


def answer(questions: Sequence[Mapping[str, Any]], file: str, adapter: str | None = None) -> list[dict[str, Any]]:
    """Return what the export makes of questions."""
    server = _Server(file, adapter)
    return [server.answer(question) for question in questions]


class _Server:
    """llama.cpp's server, with one model. It ends with this process."""

    def __init__(self, file: str, adapter: str | None) -> None:
        key = secrets.token_hex()
        params = xllamacpp.CommonParams()
        params.model.path = file
        params.hostnames, params.port, params.api_keys = ["127.0.0.1"], 0, [key]
        params.n_ctx, params.n_parallel, params.n_gpu_layers = 0, 1, 0  # 0: all of the context; the processor alone
        if adapter is not None:
            lora = xllamacpp.CommonAdapterLoraInfo()
            lora.path, lora.scale = adapter, 1.0
            params.lora_adapters = [lora]
        self._server = xllamacpp.Server(params)
        self._http = requests.Session()
        self._http.trust_env = False  # no proxy is between
        self._http.headers["Authorization"] = f"Bearer {key}"

    def answer(self, asked: Mapping[str, Any]) -> dict[str, Any]:
        """Return what it makes of one question."""
        likeliest, ends = self._read(asked["ids"], asked["start"])
        return {"prompt": self._prompt(asked), "likeliest": likeliest, "ends": ends}

    def _read(self, ids: Sequence[int], start: int) -> tuple[list[list[tuple[int, float]]], bool]:
        """Return the likeliest tokens in each place, and whether the likeliest one in the last place ends an answer.

        It goes on by itself, and is set right wherever it goes on otherwise.
        """
        found: list[list[tuple[int, float]]] = []
        ends = False
        while (at := start + len(found)) < len(ids):
            said = self._post("completion", prompt=ids[:at], n_predict=len(ids) - at, n_probs=TOP, temperature=0)
            if not said["completion_probabilities"]:
                sys.exit(f"llama.cpp reads {at} tokens, and predicts nothing behind them: {said['stop_type']}")
            for place, token in zip(said["completion_probabilities"], ids[at:], strict=False):
                found.append([(one["id"], one["logprob"]) for one in place["top_logprobs"]])
                ends = said["stop_type"] == "eos" and place is said["completion_probabilities"][-1]
                if place["id"] != token:
                    break
        return found, ends

    def _prompt(self, asked: Mapping[str, Any]) -> list[int]:
        text = asked["prompt"]
        if text is None:
            tools = {"tools": asked["tools"]} if asked["tools"] else {}
            said = self._post(
                "apply-template", messages=asked["messages"], chat_template_kwargs=asked["options"], **tools
            )
            text = said["prompt"]
        return list(self._post("tokenize", content=text, add_special=True, parse_special=True)["tokens"])

    def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = self._http.post(f"{self._server.listening_address}/{path}", json=body)
        if not answer.ok:
            sys.exit(f"llama.cpp refuses {path}: {answer.text}")
        found: dict[str, Any] = answer.json()
        return found


if __name__ == "__main__":
    serve(answer, sys.argv[1:])

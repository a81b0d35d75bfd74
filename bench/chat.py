"""Chats through a running backend, each beside bare transformers in the same run: ``python bench/chat.py``.

It needs the ``local`` extra, two quiet cores and about eight minutes. It trains a little first, for an adapter. Bare
transformers is ``generate`` in a process of its own, with the same model, number type, prompts and threads; the two
take turns, so that a busy machine slows both.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import click
import requests

from arkor.backend import models
from arkor.backend.models.catalogue import models_dir
from arkor.client.unpack import unpack

MODEL = "smollm2-135m"
TOPICS = ("a dog", "the sea", "a king", "the moon", "a train", "an island", "a baker", "a storm")
PROMPTS = [f"Tell me a long story about {topic}." for topic in TOPICS]
TOKENS = 48
ROUNDS = 3
CASES = {  # rows, and which of them use the adapter
    "one answer": (1, ()),
    "eight answers": (8, ()),
    "one answer, adapter": (1, (0,)),
    "eight answers, adapter": (8, tuple(range(8))),
    "eight answers, half of them with the adapter": (8, (0, 2, 4, 6)),
}
TICKETS = Path(__file__).parents[1] / "examples" / "triage" / "data" / "tickets.jsonl"
ASKED = 10  # rows of a report
HEADERS = {"X-Arkor-Client": "arkor/bench"}


class Ours:
    """A backend of its own, and one identity in it."""

    def __init__(self, folder: Path) -> None:
        self._server_file = folder / "server.json"
        command = [sys.executable, "-m", "arkor.backend", "--data", str(folder / "data")]
        with (folder / "backend.log").open("wb") as log:
            self._process = subprocess.Popen([*command, "--server-file", str(self._server_file)], stderr=log)
        self._data = folder / "data"
        pause = threading.Event()
        while not self._server_file.exists():
            pause.wait(0.05)
        self._url = json.loads(self._server_file.read_text())["url"]
        made = requests.post(f"{self._url}/v1/auth/anonymous", json={}, headers=HEADERS, timeout=60).json()
        self._headers = {**HEADERS, "Authorization": f"Bearer {made['token']}"}
        self._scope = {"orgSlug": made["personalOrg"]["slug"], "projectSlug": "bench"}
        self.call("POST", "/v1/projects", json={"name": "bench", "slug": "bench"})

    def call(self, method: str, path: str, **arguments: Any) -> requests.Response:
        """Send a request with the identity and the scope."""
        answer = requests.request(
            method, self._url + path, params=self._scope, headers=self._headers, timeout=300, **arguments
        )
        answer.raise_for_status()
        return answer

    def submit(self, **config: Any) -> str:
        """Start a job on rows as long as the triage example's."""
        turn = "The invoice of last month is wrong, and nobody answers my letters. " * 3
        rows = [{"messages": [{"role": r, "content": turn} for r in ("user", "assistant")]} for _ in range(64)]
        source = self.upload("".join(json.dumps(row) + "\n" for row in rows).encode())
        config = {"model": MODEL, "datasetSource": source, **config}
        return str(self.call("POST", "/v1/jobs", json={"name": "bench", "config": config}).json()["job"]["id"])

    def upload(self, data: bytes) -> dict[str, str]:
        """Have rows on the backend, and return what names them."""
        name = hashlib.sha256(data).hexdigest()
        self.call("PUT", f"/v1/datasets/{name}", data=data)
        return {"type": "dataset", "id": name}

    def evaluate(self, job_id: str, **options: Any) -> None:
        """Have a report made, and wait for it."""
        path, pause = f"/v1/jobs/{job_id}/evaluations", threading.Event()
        path += f"/{self.call('POST', path, json=options).json()['evaluation']['id']}"
        while self.call("GET", path).json()["evaluation"]["status"] != "completed":
            pause.wait(0.1)

    def events(self, job_id: str) -> Iterator[tuple[float, str]]:
        """Yield each event's type, with the time at which it came."""
        with self.call("GET", f"/v1/jobs/{job_id}/events/stream", stream=True) as answer:
            for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
                if line.startswith("event: "):
                    yield time.monotonic(), line.removeprefix("event: ")

    def adapter_folder(self, job_id: str, target: Path) -> str:
        """Unpack a job's adapter, and return its folder."""
        with (self._data / "jobs" / job_id / "artifacts" / "adapter.tar").open("rb") as archive:
            unpack(archive, target)
        return str(target)

    def chat(self, prompt: str, job_id: str | None = None) -> int:
        """Ask; return how many tokens the answer had."""
        return self.answer([{"role": "user", "content": prompt}], job_id)

    def answer(self, messages: list[dict[str, str]], job_id: str | None) -> int:
        """Have a conversation answered; return how many tokens the answer had."""
        where = {"adapter": {"kind": "final", "jobId": job_id}} if job_id else {"baseModel": MODEL}
        body = {"messages": messages, "temperature": 0, "maxTokens": TOKENS, **where}
        last = b""
        with self.call("POST", "/v1/inference/chat", json=body, stream=True) as answer:
            for line in answer.iter_lines(chunk_size=1):
                last = line if b'"usage"' in line else last
        return int(json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"])

    def rate(self, rows: int, adapted: tuple[int, ...], job_id: str) -> float:
        """Return tokens a second, over all answers that are made at the same time."""
        began = time.monotonic()
        with ThreadPoolExecutor(rows) as pool:
            asked = [pool.submit(self.chat, PROMPTS[n], job_id if n in adapted else None) for n in range(rows)]
            made = sum(answer.result() for answer in asked)
        return made / (time.monotonic() - began)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()


class Bare:
    """``generate`` in a process of its own; see ``serve_bare``."""

    def __init__(self, adapter: str) -> None:
        command = [sys.executable, __file__, "--bare", adapter]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def ask(self, **what: Any) -> Any:
        """Ask the process to measure something."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(what) + "\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())

    def close(self) -> None:
        """Stop it."""
        self._process.communicate()


def serve_bare(adapter: str) -> None:
    """Measure what standard input asks for, with nothing but transformers, PEFT and llguidance."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.update(OMP_WAIT_POLICY="PASSIVE", HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from arkor.backend.inference_worker.transformers_engine.base import served_dtype

    path = str(models_dir() / MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    dtype = served_dtype(path)
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    base = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    model = PeftModel.from_pretrained(base, adapter, adapter_name="a", autocast_adapter_dtype=False).eval()

    def rate(rows: int, adapted: list[int]) -> float:
        turns = [[{"role": "user", "content": prompt}] for prompt in PROMPTS[:rows]]
        ids = [tokenizer.apply_chat_template(turn, add_generation_prompt=True, return_dict=False) for turn in turns]
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        how: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
        if adapted:
            how["adapter_names"] = ["a" if row in adapted else "__base__" for row in range(rows)]
        if len(adapted) == rows:  # the quick way, where nothing is mixed
            del how["adapter_names"]
        began = time.monotonic()
        with torch.inference_mode():
            (model if adapted else plain).generate(**batch, **how)
        return rows * TOKENS / (time.monotonic() - began)

    for line in sys.stdin:
        asked = json.loads(line)
        answer = rate(**asked["case"]) if "case" in asked else matcher_ms(tokenizer)
        output.write(json.dumps(answer) + "\n")
        output.flush()


def matcher_ms(tokenizer: Any) -> list[float]:
    """Return milliseconds a token of holding an answer to a schema: making the matcher, and each token."""
    import torch

    from arkor.backend.inference.constraints import Constraint
    from arkor.backend.inference_worker.grammars import Grammars

    fields = {"category": {"enum": ["billing", "bug"]}, "summary": {"type": "string"}, "urgent": {"type": "boolean"}}
    schema = {"type": "object", "properties": fields, "required": list(fields), "additionalProperties": False}
    text = '{"category": "billing", "summary": "The invoice of last month is wrong, again.", "urgent": true}'
    tokens = tokenizer(text)["input_ids"]
    grammars, logits = Grammars(tokenizer, 49152, frozenset({2})), torch.randn(49152)
    grammars.for_constraint(Constraint("json_object", True))  # the vocabulary is compiled once
    made, followed = [], []
    for _ in range(20):
        began = time.perf_counter()
        matcher = grammars.for_constraint(Constraint("json", schema))
        made.append(time.perf_counter() - began)
        began = time.perf_counter()
        for token in tokens:
            logits.masked_fill(~matcher.allowed(), float("-inf"))
            matcher.take(token)
        followed.append((time.perf_counter() - began) / len(tokens))
    return [1000 * statistics.median(made), 1000 * statistics.median(followed)]


def show(name: str, ours: list[float], bare: list[float], unit: str = "tokens/s") -> None:
    left, right = statistics.median(ours), statistics.median(bare)
    click.echo(f"{name:48} {left:7.1f} {right:7.1f} {unit}  ratio {left / right:.2f}")


def compare(ours: Ours, bare: Bare, job_id: str) -> None:
    click.echo(f"{'':48} {'arkor':>7} {'bare':>7}")
    for name, (rows, adapted) in CASES.items():
        mine, theirs = [], []
        for turn in range(ROUNDS + 1):
            pair = ours.rate(rows, adapted, job_id), bare.ask(case={"rows": rows, "adapted": adapted})
            if turn:  # the first warms up
                mine.append(pair[0])
                theirs.append(pair[1])
        show(name, mine, theirs)
    making_ms, token_ms = bare.ask(matcher=True)
    one_ms = 1000 / bare.ask(case={"rows": 1, "adapted": []})
    share = 100 * token_ms / one_ms
    click.echo(f"llguidance: {token_ms:.2f} ms a token ({share:.1f} % of a bare token), {making_ms:.1f} ms a schema")


def reports(ours: Ours, job_id: str) -> None:
    """The rows of a report, of base and adapter, beside the same questions one after the other."""
    lines = TICKETS.read_bytes().splitlines(keepends=True)[-ASKED:]
    conversations = [json.loads(line)["messages"][:-1] for line in lines]
    options = {"rows": ours.upload(b"".join(lines)), "maxTokens": TOKENS, "retention": False, "check": False}
    together, in_turn = [], []
    for _ in range(ROUNDS):
        began = time.monotonic()
        ours.evaluate(job_id, **options)
        together.append(time.monotonic() - began)
        began = time.monotonic()
        for messages in conversations:
            ours.answer(messages, None)
            ours.answer(messages, job_id)
        in_turn.append(time.monotonic() - began)
    show(f"a report of {ASKED} rows (beside one question at a time)", together, in_turn, "s")


def while_training(ours: Ours) -> None:
    """A training and a chat: each alone, then both, the cores shared as the backend does."""
    alone = [ours.rate(1, (), "") for _ in range(ROUNDS)]
    job_id = ours.submit(maxSteps=10_000)
    steps: list[float] = []
    follower = threading.Thread(target=_follow, args=(ours, job_id, steps), daemon=True)
    follower.start()
    pause = threading.Event()
    while len(steps) < 8:
        pause.wait(0.1)
    before = _mean_step(steps[2:])
    began, both = len(steps), []
    until = time.monotonic() + 40
    while time.monotonic() < until:
        both.append(ours.rate(1, (), ""))
    during = _mean_step(steps[began + 1 :])
    with contextlib.suppress(requests.HTTPError):
        ours.call("POST", f"/v1/jobs/{job_id}/cancel")
    follower.join()
    show("one answer while a training runs (beside alone)", both[1:], alone)
    show("a training step while a chat runs (beside alone)", [during], [before], "s")


def _follow(ours: Ours, job_id: str, steps: list[float]) -> None:
    for at, kind in ours.events(job_id):
        if kind == "training.log":
            steps.append(at)


def _mean_step(times: list[float]) -> float:
    return (times[-1] - times[0]) / (len(times) - 1)


@click.command(help=__doc__)
@click.option("--bare", "adapter", hidden=True)
def main(adapter: str | None) -> None:
    if adapter is not None:
        serve_bare(adapter)
        return
    models.pull(MODEL)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        ours = Ours(Path(name))
        stack.callback(ours.close)
        job_id = ours.submit(dryRun=True)
        for _ in ours.events(job_id):
            pass  # until it is complete
        bare = Bare(ours.adapter_folder(job_id, Path(name) / "adapter"))
        stack.callback(bare.close)
        compare(ours, bare, job_id)
        reports(ours, job_id)
        while_training(ours)


if __name__ == "__main__":
    main()

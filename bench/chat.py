"""Chats by both engines, each through a running backend and beside its bare program: ``python bench/chat.py``.

It needs the ``local`` extra, two quiet cores and about twenty minutes. It trains a little first, for four adapters.
Bare transformers is ``generate``, bare llama.cpp is its own server, each in a process of its own, with the same model,
number type, prompts and threads. All four take turns, so that a busy machine slows each of them.

With MKL_ENABLE_INSTRUCTIONS=AVX2, ONEDNN_MAX_CPU_ISA=AVX2 and ATEN_CPU_CAPABILITY=avx2 transformers computes as on a
processor without instructions for bfloat16.
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
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import IO, Any

import attrs
import click
import requests

from arkor.backend import models
from arkor.backend.gguf import scripts
from arkor.backend.gguf.conversions import Conversions
from arkor.backend.models.catalogue import models_dir
from arkor.client.unpack import unpack
from arkor.protocol.engines import LLAMA_CPP, TRANSFORMERS

MODEL = "smollm2-135m"
ENGINES = (LLAMA_CPP, TRANSFORMERS)
TOPICS = ("a dog", "the sea", "a king", "the moon", "a train", "an island", "a baker", "a storm")
HOW = ("long", "sad", "funny", "strange")
PROMPTS = [f"Tell me a {how} story about {topic}." for how in HOW for topic in TOPICS]
TOKENS = 48
ROUNDS = 3
ADAPTERS = 4
CASES: dict[str, tuple[int, tuple[int | None, ...]]] = {  # callers, and the adapters that they ask in turn
    "one caller": (1, (None,)),
    "8 callers": (8, (None,)),
    "32 callers": (32, (None,)),
    "one caller, adapter": (1, (0,)),
    "8 callers, adapter": (8, (0,)),
    "8 callers, half of them with the adapter": (8, (None, 0)),
    "8 callers, four adapters": (8, (0, 1, 2, 3)),
}
TICKETS = Path(__file__).parents[1] / "examples" / "triage" / "data" / "tickets.jsonl"
ASKED = 10  # rows of a report
HEADERS = {"X-Arkor-Client": "arkor/bench"}


@attrs.frozen
class Answered:
    """How many tokens an answer had, and after how many seconds its first one came."""

    tokens: int
    first_s: float


@attrs.frozen
class Rate:
    """Tokens a second over all answers that are made at the same time, and the median of the first tokens' seconds."""

    tokens_s: float
    first_s: float


def turns(place: int, turn: int) -> list[dict[str, str]]:
    """Return a question: in each turn another one, as what is kept of the last one would answer it sooner."""
    return [{"role": "user", "content": f"{turn + 1}. {PROMPTS[place]}"}]


def rate(answer: Callable[[int, int | None], Answered], callers: int, adapters: tuple[int | None, ...]) -> Rate:
    """Let so many callers ask at the same time, one adapter after the other."""
    began = time.monotonic()
    with ThreadPoolExecutor(callers) as pool:
        found = list(pool.map(answer, range(callers), [adapters[place % len(adapters)] for place in range(callers)]))
    made = sum(answered.tokens for answered in found) / (time.monotonic() - began)
    return Rate(made, statistics.median(answered.first_s for answered in found))


class Ours:
    """A backend of its own, and one identity in it."""

    def __init__(self, folder: Path, engine: str) -> None:
        folder.mkdir()
        self._server_file = folder / "server.json"
        command = [sys.executable, "-m", "arkor.backend", "--data", str(folder / "data"), "--chat-engine", engine]
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
        self.adapters: list[str] = []

    def train(self, seed: int) -> str:
        """Have a small adapter trained, and return its job."""
        job_id = self.submit(dryRun=True, seed=seed)
        for _ in self.events(job_id):
            pass  # until it is complete
        self.adapters.append(job_id)
        return job_id

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

    def answer(self, messages: list[dict[str, str]], adapter: int | None) -> Answered:
        """Have a conversation answered; return how many tokens the answer had, and when the first one came."""
        job_id = None if adapter is None else self.adapters[adapter]
        where = {"adapter": {"kind": "final", "jobId": job_id}} if job_id else {"baseModel": MODEL}
        body = {"messages": messages, "temperature": 0, "maxTokens": TOKENS, **where}
        began, first_s, last = time.monotonic(), 0.0, b""
        with self.call("POST", "/v1/inference/chat", json=body, stream=True) as answer:
            for line in answer.iter_lines(chunk_size=1):
                if not first_s and b'"content": "' in line and b'"content": ""' not in line:
                    first_s = time.monotonic() - began
                last = line if b'"usage"' in line else last
        return Answered(int(json.loads(last.removeprefix(b"data: "))["usage"]["completion_tokens"]), first_s)

    def rate(self, callers: int, adapters: tuple[int | None, ...], turn: int) -> Rate:
        """Let so many ask at the same time."""
        return rate(lambda place, adapter: self.answer(turns(place, turn), adapter), callers, adapters)

    def close(self) -> None:
        """Stop it."""
        self._process.terminate()
        self._process.wait()


class Bare:
    """A program of others in a process of its own; see ``serve_transformers`` and ``serve_llama_cpp``."""

    def __init__(self, kind: str, *arguments: str) -> None:
        command = [sys.executable, __file__, "--bare", kind, *arguments]
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

    def rate(self, callers: int, adapters: tuple[int | None, ...], turn: int) -> Rate:
        """Let so many ask at the same time."""
        return Rate(*self.ask(callers=callers, adapters=adapters, turn=turn))

    def close(self) -> None:
        """Stop it."""
        self._process.communicate()


def serve(measure: Callable[[int, tuple[int | None, ...], int], Rate], tokenizer: Any, output: IO[str]) -> None:
    """Measure for as long as standard input asks."""
    for line in sys.stdin:
        asked = json.loads(line)
        if "matcher" in asked:
            answer: Any = matcher_ms(tokenizer)
        else:
            answer = attrs.astuple(measure(asked["callers"], tuple(asked["adapters"]), asked["turn"]))
        output.write(json.dumps(answer) + "\n")
        output.flush()


def serve_transformers(folders: Sequence[str]) -> None:
    """Measure what standard input asks for, with nothing but transformers, PEFT and llguidance."""
    output = own_output()
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from arkor.backend.inference_worker.transformers_engine.base import served_dtype

    path = str(models_dir() / MODEL)
    tokenizer = AutoTokenizer.from_pretrained(path, padding_side="left")
    dtype = served_dtype(path)
    plain = AutoModelForCausalLM.from_pretrained(path, dtype=dtype).eval()
    base = AutoModelForCausalLM.from_pretrained(path, dtype=dtype)
    model = PeftModel.from_pretrained(base, folders[0], adapter_name="0", autocast_adapter_dtype=False).eval()
    for place, folder in enumerate(folders[1:], start=1):
        model.load_adapter(folder, str(place), autocast_adapter_dtype=False)

    def measure(callers: int, adapters: tuple[int | None, ...], turn: int) -> Rate:
        chosen = [adapters[place % len(adapters)] for place in range(callers)]
        ids = [
            tokenizer.apply_chat_template(turns(n, turn), add_generation_prompt=True, return_dict=False)
            for n in range(callers)
        ]
        batch = tokenizer.pad({"input_ids": ids}, return_tensors="pt")
        how: dict[str, Any] = {"max_new_tokens": TOKENS, "min_new_tokens": TOKENS, "do_sample": False}
        if set(chosen) == {0}:  # the quick way, where nothing is mixed
            model.set_adapter("0")
        elif set(chosen) != {None}:
            how["adapter_names"] = ["__base__" if one is None else str(one) for one in chosen]
        began, first_s = time.monotonic(), 0.0
        with torch.inference_mode():
            asked = plain if set(chosen) == {None} else model
            if callers == 1:
                asked.generate(**batch, **{**how, "max_new_tokens": 1, "min_new_tokens": 1})
                first_s = time.monotonic() - began
                began = time.monotonic()
            asked.generate(**batch, **how)
        return Rate(callers * TOKENS / (time.monotonic() - began), first_s)

    serve(measure, tokenizer, output)


def serve_llama_cpp(file: str, *adapters: str) -> None:
    """Measure what standard input asks for, with nothing but llama.cpp's own server."""
    output = own_output()
    import xllamacpp
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(models_dir() / MODEL)
    params = xllamacpp.CommonParams()
    params.model.path = file
    params.hostnames, params.port = ["127.0.0.1"], 0
    params.n_parallel, params.n_ctx, params.n_gpu_layers = 8, 8 * 1024, 0
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = os.cpu_count() or 1
    loaded = []
    for path in adapters:
        lora = xllamacpp.CommonAdapterLoraInfo()
        lora.path, lora.scale = path, 0.0
        loaded.append(lora)
    params.lora_adapters = loaded
    server = xllamacpp.Server(params)

    def answer(turn: int, place: int, adapter: int | None) -> Answered:
        ids = tokenizer.apply_chat_template(turns(place, turn), add_generation_prompt=True, return_dict=False)
        scales = [{"id": number, "scale": float(number == adapter)} for number in range(len(adapters))]
        body = {
            "prompt": ids,
            "n_predict": TOKENS,
            "temperature": 0,
            "stream": True,
            "cache_prompt": False,
            "lora": scales,
        }
        began, first_s, count = time.monotonic(), 0.0, 0
        with requests.post(f"{server.listening_address}/completion", json=body, stream=True, timeout=300) as said:
            for line in said.iter_lines(chunk_size=1):
                if line.startswith(b"data: "):
                    first_s = first_s or time.monotonic() - began
                    count = json.loads(line.removeprefix(b"data: ")).get("tokens_predicted", count)
        return Answered(count, first_s)

    serve(lambda callers, chosen, turn: rate(partial(answer, turn), callers, chosen), tokenizer, output)


def own_output() -> IO[str]:
    """Return what answers go to; what libraries print goes elsewhere."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    os.environ.update(HF_HUB_OFFLINE="1", TOKENIZERS_PARALLELISM="false")
    return output


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


def show(name: str, values: Mapping[str, list[float]], unit: str) -> None:
    """Print the medians, and each engine's ratio to its bare program."""
    found = {who: statistics.median(measured) for who, measured in values.items()}
    ratios = [
        f"{engine} {found[engine] / found[f'bare {engine}']:.2f}" for engine in ENGINES if f"bare {engine}" in found
    ]
    click.echo(
        f"{name:44} " + "  ".join(f"{found[who]:8.2f}" for who in found) + f"  {unit:9} ratios: {', '.join(ratios)}"
    )


def compare(asked: Mapping[str, Ours | Bare]) -> None:
    """All cases, in turns."""
    click.echo(f"{'':44} " + "  ".join(f"{who:>8}" for who in asked))
    for name, (callers, adapters) in CASES.items():
        rates: dict[str, list[Rate]] = {who: [] for who in asked}
        for turn in range(ROUNDS + 1):
            for who, one in asked.items():
                measured = one.rate(callers, adapters, turn)
                if turn:  # the first warms up
                    rates[who].append(measured)
        show(name, {who: [one.tokens_s for one in measured] for who, measured in rates.items()}, "tokens/s")
        if callers == 1:
            show("  its first token", {who: [one.first_s for one in measured] for who, measured in rates.items()}, "s")


def reports(ours: Mapping[str, Ours]) -> None:
    """The rows of a report, of base and adapter, by each engine."""
    lines = TICKETS.read_bytes().splitlines(keepends=True)[-ASKED:]
    took: dict[str, list[float]] = {engine: [] for engine in ours}
    for _ in range(ROUNDS):
        for engine, one in ours.items():
            options = {"rows": one.upload(b"".join(lines)), "maxTokens": TOKENS, "retention": False, "check": False}
            began = time.monotonic()
            one.evaluate(one.adapters[0], **options)
            took[engine].append(time.monotonic() - began)
    show(f"a report of {ASKED} rows", took, "s")


def while_training(ours: Ours, engine: str) -> None:
    """A training and a chat: each alone, then both, the cores shared as the backend does."""
    alone = [ours.rate(1, (None,), turn).tokens_s for turn in range(ROUNDS)]
    job_id = ours.submit(maxSteps=10_000)
    steps: list[float] = []
    follower = threading.Thread(target=_follow, args=(ours, job_id, steps), daemon=True)
    follower.start()
    pause = threading.Event()
    while len(steps) < 8:
        pause.wait(0.1)
    before = _mean_step(steps[2:])
    began, both = len(steps), list[float]()
    until = time.monotonic() + 40
    while time.monotonic() < until:
        both.append(ours.rate(1, (None,), ROUNDS + len(both)).tokens_s)
    during = _mean_step(steps[began + 1 :])
    with contextlib.suppress(requests.HTTPError):
        ours.call("POST", f"/v1/jobs/{job_id}/cancel")
    follower.join()
    answers, answers_alone = statistics.median(both[1:]), statistics.median(alone)
    click.echo(
        f"{engine} while a job trains: {answers:.1f} tokens/s, {answers_alone:.1f} alone; "
        f"a step {during:.2f} s, {before:.2f} s alone (ratio {during / before:.2f})"
    )


def first_answer_of_a_checkpoint(ours: Ours, engine: str) -> None:
    """Seconds until the first token of a checkpoint of a job that trains, which was not asked before."""
    job_id = ours.submit(maxSteps=10_000, saveSteps=2)
    pause = threading.Event()
    while not (found := ours.call("GET", f"/v1/jobs/{job_id}/artifacts").json()["artifacts"]):
        pause.wait(0.1)
    ours.answer(turns(0, 0), None)  # the process of the chats is there
    took = []
    for artifact in found[:1]:
        where = {"kind": "checkpoint", "jobId": job_id, "step": artifact["step"]}
        body = {"messages": turns(1, 0), "temperature": 0, "maxTokens": 1, "adapter": where, "stream": False}
        began = time.monotonic()
        ours.call("POST", "/v1/inference/chat", json=body)
        took.append(time.monotonic() - began)
    ours.call("POST", f"/v1/jobs/{job_id}/cancel")
    click.echo(f"{engine}: a checkpoint of a running job answers {took[0]:.2f} s after it is asked first")


def _follow(ours: Ours, job_id: str, steps: list[float]) -> None:
    for at, kind in ours.events(job_id):
        if kind == "training.log":
            steps.append(at)


def _mean_step(times: list[float]) -> float:
    return (times[-1] - times[0]) / (len(times) - 1)


def constraints(bare: Bare) -> None:
    """What a constraint costs."""
    making_ms, token_ms = bare.ask(matcher=True)
    share = token_ms / 10 * bare.rate(1, (None,), 0).tokens_s
    click.echo(f"llguidance: {token_ms:.2f} ms a token ({share:.1f} % of a bare token), {making_ms:.1f} ms a schema")


@click.command(help=__doc__)
@click.option("--bare", nargs=1, hidden=True)
@click.argument("files", nargs=-1)
def main(bare: str | None, files: tuple[str, ...]) -> None:
    if bare is not None:
        serve_transformers(files) if bare == TRANSFORMERS else serve_llama_cpp(*files)
        return
    models.pull(MODEL)
    with tempfile.TemporaryDirectory() as name, contextlib.ExitStack() as stack:
        folder = Path(name)
        ours = {engine: Ours(folder / engine, engine) for engine in ENGINES}
        for one in ours.values():
            stack.callback(one.close)
            for seed in range(ADAPTERS):
                one.train(seed)
        trained = ours[TRANSFORMERS]
        adapters = [trained.adapter_folder(job_id, folder / job_id) for job_id in trained.adapters]
        gguf, loras = for_llama_cpp(folder / "llama.cpp", adapters)
        bare_ones = {TRANSFORMERS: Bare(TRANSFORMERS, *adapters), LLAMA_CPP: Bare(LLAMA_CPP, gguf, *loras)}
        for program in bare_ones.values():
            stack.callback(program.close)
        compare({**ours, **{f"bare {engine}": program for engine, program in bare_ones.items()}})
        constraints(bare_ones[LLAMA_CPP])
        reports(ours)
        for engine, one in ours.items():
            while_training(one, engine)
            first_answer_of_a_checkpoint(one, engine)


def for_llama_cpp(folder: Path, adapters: Sequence[str]) -> tuple[str, list[str]]:
    """Return the model and adapters as GGUF files."""
    conversions = Conversions(folder / "models", folder / "tools")
    converted = conversions.model(models_dir() / MODEL, "bf16", 120)
    assert converted is not None
    scripts.convert(folder / "tools", models_dir() / MODEL, folder / "whole.gguf", "bf16", MODEL)  # with a tokenizer
    return str(folder / "whole.gguf"), [str(conversions.adapter(converted, Path(adapter))) for adapter in adapters]


if __name__ == "__main__":
    main()

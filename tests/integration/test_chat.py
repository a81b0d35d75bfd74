"""A real model answers through the real backend: one chat process for everything that is asserted here."""

from __future__ import annotations

import json
import os
import re
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import attrs
import psutil
import pytest
import requests

from tests.conftest import MODEL
from tests.support.adapters import write_adapter_tar
from tests.support.backend import BackendProcess, Client
from tests.support.eventually import eventually
from tests.support.processes import descendants

ANSWER_TIMEOUT_S = 90.0  # a real model on cores that others use too

pytestmark = [pytest.mark.training, pytest.mark.timeout(120)]

COMPLETIONS = "/v1/inference/completions"
PATH = "/v1/inference/chat"
START_S = 60.0
TICKET = {
    "type": "object",
    "properties": {
        "category": {"enum": ["billing", "bug", "other"]},
        "urgent": {"type": "boolean"},
        "summary": {"type": "string", "maxLength": 40},
    },
    "required": ["category", "urgent", "summary"],
    "additionalProperties": False,
}
WEATHER = {
    "type": "function",
    "function": {
        "name": "get_weather",
        "description": "The weather of a city",
        "parameters": {
            "type": "object",
            "properties": {"city": {"type": "string", "maxLength": 20}},
            "required": ["city"],
        },
    },
}


@attrs.frozen
class World:
    """A backend with a model, and a job that has made two adapters."""

    backend: BackendProcess
    client: Client
    job_id: str

    def ask(self, text: str = "What is the capital of France?", **fields: Any) -> requests.Response:
        """Ask the base model, greedily and in one piece unless the fields say otherwise."""
        where = {} if "adapter" in fields else {"baseModel": MODEL}
        body = {"messages": [{"role": "user", "content": text}], "temperature": 0, "maxTokens": 24, "stream": False}
        is_stream = bool(fields.get("stream"))
        return self.client.request(
            "POST", PATH, json={**where, **body, **fields}, stream=is_stream, timeout=ANSWER_TIMEOUT_S
        )

    def said(self, *args: Any, **fields: Any) -> dict[str, Any]:
        """Ask; return the only choice."""
        answer = self.ask(*args, **fields)
        assert answer.status_code == 200, answer.text
        choice: dict[str, Any] = answer.json()["choices"][0]
        return choice

    def text(self, *args: Any, **fields: Any) -> str:
        """Ask; return the text."""
        return str(self.said(*args, **fields)["message"]["content"])

    def adapter(self, step: int | None = None) -> dict[str, Any]:
        """Name one of the job's adapters."""
        kind = {"kind": "final"} if step is None else {"kind": "checkpoint", "step": step}
        return {**kind, "jobId": self.job_id}

    def chat_process(self) -> psutil.Process:
        """The process that answers."""
        assert self.backend.process is not None
        return descendants(psutil.Process(self.backend.process.pid), "arkor.backend.inference_worker")[0]


@pytest.fixture(scope="module")
def world(model_home: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    backend = BackendProcess(tmp_path_factory.mktemp("chat"), chat="arkor.backend.inference_worker")
    models = backend.home / ".arkor" / "models"
    models.mkdir(parents=True)
    (models / MODEL).symlink_to(model_home / ".arkor" / "models" / MODEL)
    backend.start()
    client = backend.client()
    config = {"model": MODEL, "datasetSource": {"type": "huggingface", "name": "owner/rows"}, "saveSteps": 2}
    job_id = client.submit("gated:3", config).json()["job"]["id"]
    backend.allow(job_id, 2)
    eventually(lambda: client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"], "a checkpoint is there")
    tar = backend.job_dir(job_id) / "artifacts" / "checkpoint-2.tar"
    write_adapter_tar(tar, models / MODEL, seed=1, scale=0.3)
    world = World(backend, client, job_id)
    eventually(lambda: world.ask(maxTokens=1).status_code == 200, "the model answers", START_S)
    yield world
    backend.close()


def chunks(answer: requests.Response) -> Iterator[tuple[float, str]]:
    """Yield the data of each frame, with the time at which it came."""
    for line in answer.iter_lines(chunk_size=1, decode_unicode=True):
        if line.startswith("data: "):
            yield time.monotonic(), line.removeprefix("data: ")


def test_an_answer_in_one_piece(world: World) -> None:
    """The whole of a chat completion: names, counts, and why it ended."""
    body = world.ask().json()
    assert (body["object"], body["model"], body["id"][:9]) == ("chat.completion", MODEL, "chatcmpl-")
    assert body["system_fingerprint"].startswith(f"{os.environ['ARKOR_CHAT_ENGINE']}-")
    assert "Paris" in body["choices"][0]["message"]["content"]
    assert body["choices"][0]["finish_reason"] == "stop"
    usage = body["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"]
    assert 3 < usage["completion_tokens"] < 24


def test_a_text_is_continued_without_the_chat_template(world: World) -> None:
    """The model sees the text's tokens and nothing else: no question, no turn of an assistant."""

    def complete(prompt: str, **who: Any) -> dict[str, Any]:
        asked = {"prompt": prompt, "temperature": 0, "maxTokens": 12, "stream": False, **who}
        body: dict[str, Any] = world.client.request("POST", COMPLETIONS, json=asked, timeout=ANSWER_TIMEOUT_S).json()
        return {**body["usage"], "text": body["choices"][0]["text"]}

    counted = complete("1, 2, 3, 4, 5,", baseModel=MODEL)
    assert counted["text"].startswith(" 6")
    assert counted["prompt_tokens"] == len("1, 2, 3, 4, 5,")  # a chat's has its header and a system message, too
    story = "Once upon a time there was"
    assert complete(story, adapter=world.adapter(2))["text"] != complete(story, baseModel=MODEL)["text"]


def test_a_text_has_the_same_logprobs_as_an_answer_and_as_a_prompt(world: World) -> None:
    """But for rounding; the answer is greedy, so the likeliest token stands in each place."""
    asked = {"temperature": 0, "stream": False, "logprobs": 1, "baseModel": MODEL}

    def complete(**fields: Any) -> dict[str, Any]:
        answer = world.client.request("POST", COMPLETIONS, json={**asked, **fields}, timeout=ANSWER_TIMEOUT_S)
        choice: dict[str, Any] = answer.json()["choices"][0]
        return choice

    prompt = "1, 2, 3, 4, 5,"
    made = complete(prompt=prompt, maxTokens=12)
    read = complete(prompt=prompt + made["text"], maxTokens=0, echo=True)
    assert read["text"] == prompt + made["text"]
    count = len(prompt)  # a token each
    answered, told = made["logprobs"], read["logprobs"]
    assert "".join(told["tokens"]) == read["text"]
    assert told["tokens"][count:] == answered["tokens"]
    assert told["token_logprobs"][count:] == pytest.approx(answered["token_logprobs"], abs=0.1)
    assert (told["token_logprobs"][0], told["top_logprobs"][0]) == (None, None)
    assert [max(top, key=top.get) for top in answered["top_logprobs"]] == answered["tokens"]
    assert told["text_offset"][count:] == [count + offset for offset in answered["text_offset"]]


def test_several_answers_to_a_question(world: World) -> None:
    """Each another one, with the tokens of its text; the first is the only answer to the same question."""
    fields = {"temperature": 1.2, "maxTokens": 12, "seed": 7, "logprobs": True, "top_logprobs": 2}
    body = world.ask("Tell me a story about a dog.", n=3, **fields).json()
    texts = [choice["message"]["content"] for choice in body["choices"]]
    assert len(set(texts)) == 3
    assert texts[0] == world.text("Tell me a story about a dog.", **fields)
    assert body["usage"]["completion_tokens"] <= 36
    for choice, text in zip(body["choices"], texts, strict=True):
        tokens = choice["logprobs"]["content"]
        assert bytes(byte for token in tokens for byte in token["bytes"]).decode() == text
        assert [len(token["top_logprobs"]) for token in tokens] == [2] * len(tokens)


def test_an_answer_ends_before_a_stop(world: World) -> None:
    """Of a chat and of a text that goes on; it counts as ended, not as cut."""
    whole = world.text("Count from one to ten.")
    stop = whole[len(whole) // 2 :][:3]
    choice = world.ask("Count from one to ten.", stop=stop).json()["choices"][0]
    assert (choice["message"]["content"], choice["finish_reason"]) == (whole.partition(stop)[0], "stop")
    asked = {"prompt": "1, 2, 3, 4, 5,", "temperature": 0, "maxTokens": 12, "stream": False, "baseModel": MODEL}
    body = world.client.request(
        "POST", COMPLETIONS, json={**asked, "stop": ["x", ", 8"]}, timeout=ANSWER_TIMEOUT_S
    ).json()
    assert body["choices"][0]["text"] == " 6, 7"


def test_an_answer_arrives_as_it_is_made(world: World) -> None:
    """Piece by piece, in OpenAI's chunks; together they are the answer in one piece."""
    with world.ask("Count from one to ten.", stream=True) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        came = list(chunks(answer))
    assert came[-1][1] == "[DONE]"
    bodies = [json.loads(data) for _, data in came[:-1]]
    assert {(body["object"], body["model"]) for body in bodies} == {("chat.completion.chunk", MODEL)}
    assert bodies[0]["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    text = "".join(body["choices"][0]["delta"].get("content", "") for body in bodies if body["choices"])
    assert text == world.text("Count from one to ten.")
    assert bodies[-2]["choices"][0]["finish_reason"] in {"stop", "length"}
    assert (bodies[-1]["choices"], bodies[-1]["usage"]["completion_tokens"] > 5) == ([], True)
    assert came[-1][0] - came[1][0] > 0.1  # not all at once


def test_a_checkpoint_of_a_running_job_answers(world: World) -> None:
    """The job is still at work; the adapter changes the answer, and the base model stays as it was."""
    before = world.text()
    answer = world.ask(adapter=world.adapter(2)).json()
    assert answer["model"] == f"{world.job_id}:checkpoint-2"
    assert answer["choices"][0]["message"]["content"] != before
    assert world.text() == before
    assert world.client.job(world.job_id)["status"] == "running"


def test_eight_at_once_with_and_without_adapters(world: World) -> None:
    """Each gets its own answer, as it would alone; all are under way before the first is complete."""
    topics = ("a dog", "the sea", "a king", "the moon")
    asked = [(topic, fields) for topic in topics for fields in ({}, {"adapter": world.adapter(2)})]

    def ask(case: tuple[str, dict[str, Any]]) -> tuple[str, float, float]:
        with world.ask(f"Tell me a long story about {case[0]}.", **case[1], stream=True) as answer:
            came = [(at, json.loads(data)) for at, data in chunks(answer) if data != "[DONE]"]
        said = [(at, body["choices"][0]["delta"].get("content")) for at, body in came if body["choices"]]
        said = [(at, text) for at, text in said if text]
        return "".join(text for _, text in said), said[0][0], said[-1][0]

    alone = [ask(case)[0] for case in asked[:2]]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(ask, asked))
    texts = [text for text, _, _ in together]
    # bfloat16 rounds otherwise in company, so a late token may differ; a mix-up would show at once.
    assert [text[:8] for text in texts[:2]] == [text[:8] for text in alone]
    assert len(set(texts)) == 8
    assert max(began for _, began, _ in together) < min(ended for _, _, ended in together)


def test_a_seed_repeats_an_answer_also_beside_other_chats(world: World) -> None:
    """At a temperature at which every answer is another one, with and without an adapter."""
    story = {"text": "Tell me a story about a dog.", "temperature": 1.2, "maxTokens": 12}
    kinds: list[dict[str, Any]] = [{}, {"adapter": world.adapter(2)}]

    def ask(fields: dict[str, Any]) -> str:
        return world.text(**{**story, **fields})

    alone = [ask({**kind, "seed": 7}) for kind in kinds]
    others = [{"text": f"Describe {topic}.", **kinds[0]} for topic in ("the sea", "a king", "the moon")]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(ask, [*others, *({**kind, "seed": 7} for kind in kinds), {"seed": 8}]))
    assert together[3:5] == alone
    assert len({*alone, *together}) == 6


def test_a_schema_is_kept_at_any_temperature(world: World) -> None:
    """The untrained model writes JSON that parses and has the right fields, every time."""

    def ask(number: int) -> Any:
        schema = {"type": "json_schema", "json_schema": {"name": "ticket", "schema": TICKET, "strict": True}}
        question = f"Ticket {number}: my invoice is wrong and the app is slow!"
        choice = world.said(question, temperature=1.5, maxTokens=80, responseFormat=schema)
        assert choice["finish_reason"] == "stop"
        return json.loads(choice["message"]["content"])

    with ThreadPoolExecutor(8) as pool:
        for ticket in pool.map(ask, range(8)):
            assert set(ticket) == {"category", "urgent", "summary"}
            assert ticket["category"] in {"billing", "bug", "other"}
            assert isinstance(ticket["urgent"], bool)


@pytest.mark.parametrize(
    ("constraint", "shape"),
    [
        ({"regex": r"\d{3}-\d{4}"}, r"[0-9]{3}-[0-9]{4}"),
        ({"choice": ["yes", "no", "peut-être"]}, "yes|no|peut-être"),
        ({"grammar": 'root ::= "<" [a-c]+ ">"'}, "<[a-c]+>?"),
        ({"grammar": 'start: "(" /[x-z]{1,3}/ ")"'}, r"\([x-z]{1,3}\)"),
        ({"json": {"type": "array", "items": {"type": "integer"}, "maxItems": 3}}, r"\[[-0-9,\s]*\]?"),
        ({"json_object": True}, r"\{.*"),
    ],
)
def test_a_constraint_is_kept(world: World, constraint: dict[str, Any], shape: str) -> None:
    """Whatever the question was."""
    text = world.text("Write a poem.", temperature=1, structured_outputs=constraint)
    assert re.fullmatch(shape, text, re.DOTALL), text


@pytest.mark.parametrize(
    ("constraint", "reason"),
    [
        ({"regex": "(a"}, "unclosed group"),
        ({"json": {"type": "array", "uniqueItems": True}}, "uniqueItems"),
        ({"grammar": "start: ("}, "Expected token"),
        ({"grammar": "root ::= ("}, "GBNF"),
    ],
)
def test_what_cannot_be_enforced_is_refused(world: World, constraint: dict[str, Any], reason: str) -> None:
    """With llguidance's own reason, also for a stream, since nothing was sent yet."""
    for stream in (False, True):
        answer = world.ask(structuredOutputs=constraint, stream=stream)
        assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_a_cut_answer_says_so(world: World) -> None:
    """``length`` is not ``stop``, whatever the constraint; and the context is a limit."""
    assert world.said("Write a story.", maxTokens=3)["finish_reason"] == "length"
    assert world.said(maxTokens=3, responseFormat={"type": "json_object"})["finish_reason"] == "length"
    answer = world.ask("word " * 8200)
    assert answer.status_code == 400
    assert re.search(r"prompt has \d+ tokens, and the model's context is 8192", answer.json()["error"])


def test_a_model_that_has_to_call_calls(world: World) -> None:
    """Its template knows no tools: they are put into the prompt, and the answer is held to their form."""
    for choice in ("required", {"type": "function", "function": {"name": "get_weather"}}):
        said = world.said("Weather in Paris?", tools=[WEATHER], tool_choice=choice, maxTokens=60)
        assert said["finish_reason"] == "tool_calls"
        (call,) = said["message"]["tool_calls"]
        assert (call["type"], call["function"]["name"], said["message"]["content"]) == ("function", "get_weather", None)
        assert "Paris" in json.loads(call["function"]["arguments"])["city"]
    asked = {"role": "assistant", "content": None, "tool_calls": [call]}
    told = {"role": "tool", "tool_call_id": call["id"], "content": [{"type": "text", "text": "22 degrees, sunny"}]}
    messages = [{"role": "user", "content": "Weather in Paris?"}, asked, told]
    assert world.said(messages=messages, tools=[WEATHER], tool_choice="none")["message"]["content"]


def test_a_model_that_cannot_decide_on_a_call_is_not_asked_to(world: World) -> None:
    """It would answer with text that only looks like a call."""
    answer = world.ask(tools=[WEATHER])
    assert (answer.status_code, "tool_calling_not_configured" in answer.json()["error"]) == (400, True)


def test_an_answer_ends_when_the_client_leaves(world: World) -> None:
    """The process computes no more."""
    with world.ask("Tell me a very long story.", stream=True, maxTokens=4000) as answer:
        for place, _ in enumerate(chunks(answer)):
            if place == 3:
                break
    process = world.chat_process()

    def rests() -> bool:
        before = process.cpu_times().user
        threading.Event().wait(0.3)
        return bool(process.cpu_times().user - before < 0.05)

    eventually(rests, "the process rests")


def test_a_process_that_dies_is_replaced(world: World) -> None:
    """Those who wait get a 503 that says why, or an error in their stream; the next question is answered."""
    with world.ask("Tell me a very long story.", stream=True, maxTokens=4000) as answer:
        frames = chunks(answer)
        next(frames)
        next(frames)
        world.chat_process().kill()
        last = [data for _, data in frames][-1]
    assert "killed by signal SIGKILL" in json.loads(last)["error"]["message"]
    assert "Paris" in world.text()

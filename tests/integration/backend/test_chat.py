"""Asking a model over HTTP: which one, in which form, and what becomes of an answer that nobody waits for."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import requests

from tests.support.backend import TIMEOUT_S, BackendProcess, Client, is_running
from tests.support.byte_model import write_byte_model
from tests.support.eventually import eventually
from tests.support.tiny_model import write_tiny_model

PATH = "/v1/inference/chat"


@pytest.fixture
def ask(client: Client, model: str) -> Callable[..., requests.Response]:
    """Ask the model of the fixture, in one piece unless the fields say otherwise."""
    return asker(client, model)


def asker(client: Client, model: str, timeout: float = TIMEOUT_S) -> Callable[..., requests.Response]:
    def ask(text: str, **fields: Any) -> requests.Response:
        body = {"messages": [{"role": "user", "content": text}], "baseModel": model, "stream": False, **fields}
        given = {name: value for name, value in body.items() if value is not None}
        return client.request("POST", PATH, json=given, stream=bool(fields.get("stream")), timeout=timeout)

    return ask


def text_of(answer: requests.Response) -> str:
    assert answer.status_code == 200, answer.text
    return str(answer.json()["choices"][0]["message"]["content"])


def frames(answer: requests.Response) -> Iterator[str]:
    """Yield each line that is not blank, as it comes."""
    assert answer.status_code == 200, answer.text
    yield from filter(None, answer.iter_lines(chunk_size=1, decode_unicode=True))


def question(ask: Callable[..., requests.Response], **fields: Any) -> dict[str, Any]:
    """Return what the chat process was asked."""
    line: dict[str, Any] = json.loads(text_of(ask("line", **fields)))
    return line


def complete(client: Client, prompt: str, **fields: Any) -> requests.Response:
    """Let a model go on with a text."""
    body = {"prompt": prompt, "stream": False, **fields}
    return client.request("POST", "/v1/inference/completions", json=body, stream=bool(fields.get("stream")))


def test_a_text_is_continued(client: Client, model: str) -> None:
    """In OpenAI's form of completions, whole and streamed; the chat process gets the text as it is."""
    body = complete(client, "say:a b", baseModel=model).json()
    assert body.pop("id").startswith("cmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "text_completion",
        "model": model,
        "choices": [{"index": 0, "text": "a b", "logprobs": None, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }
    told = list(frames(complete(client, "say:a b", baseModel=model, stream=True)))
    assert told[-1] == "data: [DONE]"
    bodies = [json.loads(line.removeprefix("data: ")) for line in told[:-1]]
    assert [choice["text"] for body in bodies for choice in body["choices"]] == ["a ", "b", ""]
    assert bodies[-1]["usage"]["total_tokens"] == 5
    line = json.loads(complete(client, "line: \n", baseModel=model).json()["choices"][0]["text"])
    assert (line["request"]["prompt"], line["request"]["messages"]) == ("line: \n", [])
    assert complete(client, "refuse", baseModel=model).status_code == 400


def test_an_answer_in_one_piece(ask: Callable[..., requests.Response], model: str) -> None:
    """An OpenAI chat completion."""
    body = ask("say:a b c").json()
    assert body.pop("id").startswith("chatcmpl-")
    assert isinstance(body.pop("created"), int)
    assert body == {
        "object": "chat.completion",
        "model": model,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "a b c"},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6},
    }


def test_a_stream_is_the_default(ask: Callable[..., requests.Response]) -> None:
    """Chunks, the counts, and the mark that it is whole."""
    with ask("say:a b", stream=None) as answer:
        assert answer.headers["Content-Type"].startswith("text/event-stream")
        lines = list(frames(answer))
    assert lines[-1] == "data: [DONE]"
    bodies = [json.loads(line.removeprefix("data: ")) for line in lines[:-1]]
    assert len({body["id"] for body in bodies}) == 1
    assert {body["object"] for body in bodies} == {"chat.completion.chunk"}
    assert [body["choices"][0]["delta"] for body in bodies[:-1]] == [
        {"role": "assistant", "content": ""},
        {"content": "a "},
        {"content": "b"},
        {},
    ]
    assert [body["choices"][0]["finish_reason"] for body in bodies[:-1]] == [None, None, None, "stop"]
    assert (bodies[-1]["choices"], bodies[-1]["usage"]["total_tokens"]) == ([], 5)


def test_the_counts_can_be_left_out(ask: Callable[..., requests.Response]) -> None:
    """For a reader that expects a choice in every chunk."""
    with ask("say:a", stream=True, stream_options={"include_usage": False}) as answer:
        assert not any('"choices": []' in line for line in frames(answer))


def test_logprobs_come_in_openai_form(ask: Callable[..., requests.Response], client: Client, model: str) -> None:
    """In one piece and streamed; the chat process is asked for as many of the likeliest tokens as the request wants."""
    a = {"token": "a", "logprob": -0.5, "bytes": [97]}
    tokens = [
        {"token": word, "logprob": -0.75, "bytes": list(word.encode()), "top_logprobs": [a]} for word in ("x ", "y")
    ]
    asked = {"logprobs": True, "top_logprobs": 1}
    assert ask("likely:x y", **asked).json()["choices"][0]["logprobs"] == {"content": tokens}
    with ask("likely:x y", stream=True, **asked) as answer:
        chunks = [json.loads(line.removeprefix("data: ")) for line in list(frames(answer))[:-2]]
    told = [chunk["choices"][0]["logprobs"] for chunk in chunks]
    assert told == [None, {"content": tokens[:1]}, {"content": tokens[1:]}, None]
    assert question(ask, **asked)["request"]["logprobs"] == 1
    whole = complete(client, "likely:x y", baseModel=model, logprobs=1, echo=True).json()["choices"][0]["logprobs"]
    assert whole == {
        "tokens": ["x ", "y"],
        "token_logprobs": [-0.75, -0.75],
        "top_logprobs": [{"a": -0.5, "x ": -0.75}, {"a": -0.5, "y": -0.75}],
        "text_offset": [0, 2],
    }


def test_several_choices_come_by_their_index(ask: Callable[..., requests.Response], client: Client, model: str) -> None:
    """In one piece in their order, and in a stream as they are made."""
    body = ask("choices", n=3).json()
    assert [(one["index"], one["message"]["content"]) for one in body["choices"]] == [(0, "0"), (1, "1"), (2, "2")]
    assert body["usage"] == {"prompt_tokens": 3, "completion_tokens": 3, "total_tokens": 6}
    lines = list(frames(complete(client, "choices", baseModel=model, n=2, stream=True)))
    choices = [choice for line in lines[:-1] for choice in json.loads(line.removeprefix("data: "))["choices"]]
    assert [(one["index"], one["text"], one["finish_reason"]) for one in choices] == [
        (1, "1", None),
        (1, "", "length"),
        (0, "0", None),
        (0, "", "length"),
    ]


def test_calls_come_in_openai_form(ask: Callable[..., requests.Response]) -> None:
    """In one piece and streamed."""
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}}
    choice = ask("call").json()["choices"][0]
    assert choice["message"] == {"role": "assistant", "content": None, "tool_calls": [call]}
    assert choice["finish_reason"] == "tool_calls"
    with ask("call", stream=True) as answer:
        lines = list(frames(answer))
    assert json.loads(lines[1].removeprefix("data: "))["choices"][0]["delta"] == {"tool_calls": [{"index": 0, **call}]}


def test_reasoning_comes_apart_from_the_text(ask: Callable[..., requests.Response]) -> None:
    """Under the name that others give it, in one piece and in a stream; without any, the field is absent."""
    message = ask("think:why").json()["choices"][0]["message"]
    assert message == {"role": "assistant", "content": "why", "reasoning_content": "why"}
    assert "reasoning_content" not in ask("say:so").json()["choices"][0]["message"]
    with ask("think:why", stream=True) as answer:
        lines = list(frames(answer))
    deltas = [json.loads(line.removeprefix("data: "))["choices"][0]["delta"] for line in lines[1:3]]
    assert deltas == [{"reasoning_content": "why"}, {"content": "why"}]


def test_both_spellings_are_understood(ask: Callable[..., requests.Response]) -> None:
    """The contract's, and that of the openai package with its other fields."""
    limits = {"max_tokens": 7, "top_p": 0.5, "response_format": {"type": "json_object"}}
    snake = question(ask, **limits, model="ignored", n=1, user="me", seed=3)["request"]
    camel = question(ask, maxTokens=7, topP=0.5, responseFormat={"type": "json_object"}, seed=3)["request"]
    assert snake == camel
    assert (snake["max_tokens"], snake["top_p"], snake["seed"], snake["temperature"]) == (7, 0.5, 3, 1.0)
    assert snake["constraint"] == {"kind": "json_object", "value": True}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({"messages": []}, "messages"),
        ({"temperature": -1}, "temperature"),
        ({"stream": "yes"}, "stream"),
        ({"stop": [3]}, "stop"),
        ({"baseModel": None}, "either adapter or baseModel"),
        ({"adapter": {"kind": "final", "jobId": "job_x"}}, "either adapter or baseModel"),
        ({"baseModel": None, "adapter": {"kind": "last"}}, "adapter"),
        ({"baseModel": None, "adapter": {"kind": "checkpoint", "jobId": "job_x"}}, "step"),
        ({"baseModel": 7}, "baseModel"),
    ],
)
def test_what_is_malformed_is_named(ask: Callable[..., requests.Response], fields: dict[str, Any], reason: str) -> None:
    """A 400 that says which field."""
    answer = ask("say:x", **fields)
    assert (answer.status_code, reason in answer.json()["error"]) == (400, True), answer.text


def test_a_model_that_is_not_there_is_refused(ask: Callable[..., requests.Response], tmp_path: Path) -> None:
    """Nothing is fetched for a chat; the text says how to fetch it."""
    known = ask("say:x", baseModel="smollm2-135m")
    assert (known.status_code, "arkor models pull smollm2-135m" in known.json()["error"]) == (409, True)
    hub = ask("say:x", baseModel="owner/name")
    assert (hub.status_code, "hf download owner/name" in hub.json()["error"]) == (409, True)
    assert ask("say:x", baseModel=str(tmp_path)).status_code == 404
    assert ask("say:x", baseModel="../../etc").status_code == 409


def test_a_model_by_its_name(shared: BackendProcess, ask: Callable[..., requests.Response]) -> None:
    """A folder of the collection."""
    folder = write_tiny_model(shared.home / ".arkor" / "models" / "mine")
    assert question(ask, baseModel="mine")["base"] == str(folder)


def test_an_adapter_is_unpacked_once(
    shared: BackendProcess, client: Client, config: dict[str, Any], model: str, tmp_path: Path
) -> None:
    """A checkpoint of a running job, then the final one; both upon the job's own base model."""
    job_id = client.submit("gated:3", {**config, "saveSteps": 2}).json()["job"]["id"]
    ask, checkpoint = asker(client, model), {"kind": "checkpoint", "jobId": job_id, "step": 2}
    early = ask("line", baseModel=None, adapter=checkpoint)
    assert (early.status_code, "no checkpoint of step 2 yet: it is " in early.json()["error"]) == (409, True)

    shared.allow(job_id, 2)
    eventually(lambda: client.get(f"/v1/jobs/{job_id}/artifacts").json()["artifacts"], "a checkpoint is there")
    first, second = (question(ask, baseModel=None, adapter=checkpoint) for _ in range(2))
    assert (first["base"], first["adapter"]) == (model, second["adapter"])
    files = sorted(file.name for file in Path(first["adapter"]["path"]).iterdir())
    assert files == ["adapter_config.json", "adapter_model.safetensors"]
    final = ask("line", baseModel=None, adapter={"kind": "final", "jobId": job_id})
    assert final.json()["error"].endswith("no final adapter yet: it is running; it has checkpoint-2.")

    shared.allow(job_id, 3)
    client.wait_for(job_id, "completed")
    last = ask("say:x", baseModel=None, adapter={"kind": "final", "job_id": job_id})
    assert (last.status_code, last.json()["model"]) == (200, f"{job_id}:adapter")
    missing = ask("say:x", baseModel=None, adapter={**checkpoint, "step": 9})
    assert (missing.status_code, "no checkpoint of step 9: it is completed" in missing.json()["error"]) == (409, True)


def test_an_adapter_is_asked_with_the_variables_that_it_was_trained_with(
    client: Client, config: dict[str, Any], model: str
) -> None:
    """Of its chat template; a base model is asked without any."""
    options = {"enable_thinking": False}
    job_id = client.submit("complete:1", {**config, "chatTemplateKwargs": options}).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    asked = question(asker(client, model), baseModel=None, adapter={"kind": "final", "jobId": job_id})
    assert asked["templateOptions"] == options
    assert question(asker(client, model))["templateOptions"] == {}


def test_an_adapter_is_asked_with_special_tokens_as_text_if_it_was_trained_so(
    client: Client, config: dict[str, Any], model: str
) -> None:
    """Others, and base models, are asked as before."""
    job_id = client.submit("complete:1", {**config, "escapeSpecialTokens": True}).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    asked = question(asker(client, model), baseModel=None, adapter={"kind": "final", "jobId": job_id})
    assert asked["escapeSpecialTokens"] is True
    assert question(asker(client, model))["escapeSpecialTokens"] is False


def test_jobs_of_others_are_not_there(shared: BackendProcess, client: Client, config: dict[str, Any]) -> None:
    """Not even as a hint."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    body = {"messages": [{"role": "user", "content": "line"}], "adapter": {"kind": "final", "jobId": job_id}}
    assert shared.client().request("POST", PATH, json=body).status_code == 404


def test_an_adapter_that_was_deleted_is_410(shared: BackendProcess, client: Client, config: dict[str, Any]) -> None:
    """Somebody made room on the disk; one that was unpacked before needs it no more than the base does."""
    job_id = client.submit("complete:1", config).json()["job"]["id"]
    client.wait_for(job_id, "completed")
    (shared.job_dir(job_id) / "artifacts" / "adapter.tar").unlink()
    body = {"messages": [{"role": "user", "content": "line"}], "adapter": {"kind": "final", "jobId": job_id}}
    assert client.request("POST", PATH, json=body).status_code == 410


def test_a_refusal_of_the_process_is_a_status(ask: Callable[..., requests.Response]) -> None:
    """Also where a stream was asked for: nothing of it was sent yet."""
    for stream in (False, True):
        answer = ask("refuse", stream=stream)
        assert (answer.status_code, answer.json()) == (400, {"error": "scripted refusal"})


def test_a_failure_in_a_stream_is_its_last_chunk(ask: Callable[..., requests.Response]) -> None:
    """Without the mark that it is whole."""
    with ask("break", stream=True) as answer:
        lines = list(frames(answer))
    assert json.loads(lines[-1].removeprefix("data: ")) == {"error": {"message": "scripted failure"}}
    assert ask("break").status_code == 500


def test_an_answer_that_nobody_waits_for_is_not_made(ask: Callable[..., requests.Response]) -> None:
    """The client left in the middle of a stream."""
    before = int(text_of(ask("cancelled")))
    with ask("hold", stream=True) as answer:
        lines = frames(answer)
        assert '"held"' in [next(lines), next(lines)][1]
    eventually(lambda: int(text_of(ask("cancelled"))) == before + 1, "the process was told")


def test_a_client_that_waits_for_one_piece_is_missed_too(shared: BackendProcess, client: Client, model: str) -> None:
    """It closed its connection before the first byte."""
    ask = asker(client, model)
    before = int(text_of(ask("cancelled")))
    body = {"messages": [{"role": "user", "content": "hold"}], "baseModel": model, "stream": False}
    headers = {"Authorization": f"Bearer {client.token}", "X-Arkor-Client": "arkor/0"}
    with pytest.raises(requests.ReadTimeout):
        requests.post(shared.url + PATH, json=body, params=client.scope, headers=headers, timeout=(5, 0.3))
    eventually(lambda: int(text_of(ask("cancelled"))) == before + 1, "the process was told")


def test_a_silent_stream_shows_signs_of_life(ask: Callable[..., requests.Response]) -> None:
    """Comments, which a reader passes over."""
    with ask("hold", stream=True) as answer:
        lines = frames(answer)
        assert [next(lines)[:5] for _ in range(3)] == ["data:", "data:", ": sti"]


def test_only_so_many_chats_at_a_time(start: Callable[..., BackendProcess], model: str) -> None:
    """One more is a 503 that says when to come back; a place is free again when a client leaves."""
    backend = start(chat_cap=1)
    ask = asker(backend.client(), model)
    with ask("hold", stream=True):
        refused = ask("say:x")
        assert (refused.status_code, refused.headers["Retry-After"]) == (503, "1")
    eventually(lambda: ask("say:x").status_code == 200, "there is room again")


def test_a_crash_is_a_503_and_the_next_chat_works(start: Callable[..., BackendProcess], model: str) -> None:
    """Everybody who waits hears why."""
    ask = asker(start().client(), model)
    first = text_of(ask("pid"))
    with ask("hold", stream=True) as waiting:
        answer = ask("crash")
        assert answer.status_code == 503
        assert "exit code 7" in answer.json()["error"]
        assert "MemoryError: scripted crash" in answer.json()["error"]
        assert "exit code 7" in list(frames(waiting))[-1]
    assert text_of(ask("pid")) != first


def test_a_model_with_which_llama_cpp_crashes_is_answered_by_transformers(
    start: Callable[..., BackendProcess], tmp_path: Path
) -> None:
    """After three crashes in a row, each told with the end of its log; another model is not concerned."""
    folders = [write_byte_model(tmp_path / name, seed=seed) for seed, name in enumerate(("bad", "good"))]
    backend = start(model_root=tmp_path, chat_engine="llama.cpp")
    client = backend.client()
    bad, good = (
        asker(client, str(folder), 60.0) for folder in folders
    )  # a conversion takes seconds, on a busy machine
    for _ in range(3):
        answer = bad("abort")
        assert answer.status_code == 503
        assert "was killed by signal SIGABRT" in answer.json()["error"]
        assert "GGML_ASSERT(scripted) failed" in answer.json()["error"]
    assert text_of(bad("abort")) == "transformers"
    assert question(bad)["gguf"] is None
    line = question(good)["gguf"]
    assert Path(line["model"]).is_file()
    assert line["dtype"] == "bf16"


def test_an_idle_process_is_let_go(start: Callable[..., BackendProcess], model: str) -> None:
    """Its memory is free for others; the next chat starts another."""
    backend = start(chat_idle=0.2)
    ask = asker(backend.client(), model)
    first = text_of(ask("pid"))
    eventually(lambda: not is_running(int(first)), "the process is gone")
    assert text_of(ask("pid")) != first


def test_a_stop_ends_chats_and_their_process(start: Callable[..., BackendProcess], model: str) -> None:
    """Nothing is left behind."""
    backend = start()
    ask = asker(backend.client(), model)
    pid = text_of(ask("pid"))
    with ask("hold", stream=True) as answer:
        lines = frames(answer)
        next(lines)
        assert backend.stop() == 0
        assert "The backend is stopping" in list(lines)[-1]
    assert not is_running(int(pid))


def test_a_killed_backend_leaves_no_process(start: Callable[..., BackendProcess], model: str) -> None:
    """It ends when its standard input does."""
    backend = start()
    pid = int(text_of(asker(backend.client(), model)("pid")))
    backend.kill()
    eventually(lambda: not is_running(pid), "the process is gone")


def test_a_training_and_a_chat_share_the_cores(
    start: Callable[..., BackendProcess], model: str, config: dict[str, Any]
) -> None:
    """Only while both are under way: then each has half, and hears so."""
    cores = os.cpu_count() or 1
    backend = start()
    client = backend.client()
    ask = asker(client, model)
    assert json.loads(text_of(ask("threads"))) == [cores]
    job_id = client.submit("gated:1", config).json()["job"]["id"]
    spec = backend.job_dir(job_id) / "spec.json"
    eventually(spec.exists, "the job runs")
    token = json.loads(spec.read_text())["token"]

    def worker_threads() -> int:
        return int(client.report(job_id, token, {"attempt": 1, "events": []}).json()["threads"])

    assert worker_threads() == cores
    with ask("hold", stream=True) as answer:
        told = frames(answer)  # kept: a generator that goes takes its connection along
        next(told)
        eventually(lambda: worker_threads() == max(1, cores - cores // 2), "the worker has its half")
        assert json.loads(text_of(ask("threads"))) == [max(1, cores // 2)]
    eventually(lambda: worker_threads() == cores, "the worker has all cores again")


def test_a_chat_gets_the_cores_that_a_job_with_full_determinism_leaves(
    start: Callable[..., BackendProcess], model: str, config: dict[str, Any]
) -> None:
    """At least one; the job has as many threads as it would have alone."""
    cores = os.cpu_count() or 1
    backend = start()
    client = backend.client()
    ask = asker(client, model)
    job_id = client.submit("gated:1", {**config, "fullDeterminism": True}).json()["job"]["id"]
    spec = backend.job_dir(job_id) / "spec.json"
    eventually(spec.exists, "the job runs")
    assert json.loads(spec.read_text())["threads"] == cores
    assert json.loads(text_of(ask("threads"))) == [1]
    backend.allow(job_id, 1)
    client.wait_for(job_id, "completed")
    backend.wait_settled(job_id)
    assert json.loads(text_of(ask("threads"))) == [cores]

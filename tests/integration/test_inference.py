"""Answers as they arrive, from a stand-in: whole, cut, refused, aborted."""

from __future__ import annotations

import pickle
import threading
import time
from typing import Any

import pytest

from arkor import (
    Callbacks,
    ChatResponse,
    CheckpointContext,
    CloudApiClient,
    HuggingFaceDataset,
    Scope,
    TokenLogprob,
    Trainer,
)
from arkor.errors import (
    Aborted,
    ArkorError,
    CloudApiError,
    ConfigError,
    ConnectionFailed,
    ServerError,
    StreamError,
    UnknownOption,
    UnsupportedByBackend,
    WaitTimeout,
)
from tests.support.cloud import Cloud
from tests.support.contract import CHAT, COMPLETIONS, Answer, Stream
from tests.support.events import DONE, chunk
from tests.support.eventually import eventually

HELLO = [chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), DONE]
MESSAGES = [{"role": "user", "content": "hi"}]


@pytest.fixture
def scope(routed_cloud: Cloud) -> Scope:
    """The project of the working directory."""
    return Scope("anon-1", "my-project")


@pytest.fixture
def client(routed_cloud: Cloud) -> CloudApiClient:
    """A client of the stand-in."""
    return CloudApiClient.connect()


def ask(client: CloudApiClient, scope: Scope, **options: Any) -> ChatResponse:
    """Ask the base model."""
    return client.chat(scope, base_model="m", **{"messages": MESSAGES, **options})


@pytest.mark.parametrize("chunked", [True, False])
@pytest.mark.parametrize("piece", [None, 1])
def test_the_pieces_arrive_and_the_text_is_whole(
    routed_cloud: Cloud, client: CloudApiClient, scope: Scope, chunked: bool, piece: int | None
) -> None:
    """Iterating gives the deltas, ``text`` all of them, whenever it is asked."""
    routed_cloud.says(Stream(frames=HELLO, chunked=chunked, piece=piece))
    with ask(client, scope) as answer:
        assert list(answer) == ["Hel", "lo"]
        assert answer.text == "Hello"
        assert answer.finish_reason == "stop"
    sent = routed_cloud.calls("POST", CHAT)[0]
    assert sent.json() == {"messages": MESSAGES, "baseModel": "m", "stream": True}
    assert sent.query == {"orgSlug": "anon-1", "projectSlug": "my-project"}


def test_an_answer_is_shown_as_its_text(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """``repr`` waits for nothing and takes no piece away; a notebook waits for the whole text."""
    routed_cloud.says(Stream(frames=HELLO), Stream(frames=[chunk("<b>\x1b[2J"), *HELLO]), Stream(frames=HELLO[:1]))
    with ask(client, scope) as answer:
        assert repr(answer) == "<ChatResponse ''…>"
        assert next(iter(answer)) == "Hel"
        assert repr(answer) == "<ChatResponse 'Hel'…>"
    with ask(client, scope) as answer:
        assert answer._repr_html_() == "<pre>&lt;b&gt; [2JHello</pre>"
        assert repr(answer) == "<ChatResponse '<b>\\x1b[2JHello'>"
    with ask(client, scope) as answer:
        assert "Hel\nThe answer was cut" in answer._repr_html_()


REASONING = [chunk(delta={"reasoning_content": piece}) for piece in ("wh", "y")]


def test_reasoning_is_apart_from_the_text(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """Iterating gives the text alone, ``deltas`` both; who asks for one gets all of it, whenever it is asked."""
    routed_cloud.says(*[Stream(frames=[*REASONING, *HELLO])] * 3)
    with ask(client, scope) as answer:
        assert list(answer) == ["Hel", "lo"]
        assert (answer.text, answer.reasoning_content) == ("Hello", "why")
    with ask(client, scope) as answer:
        assert [(delta.reasoning_content, delta.content) for delta in answer.deltas()] == [
            ("wh", ""),
            ("y", ""),
            ("", "Hel"),
            ("", "lo"),
        ]
    assert ask(client, scope).reasoning_content == "why"
    routed_cloud.says(Answer(body={"choices": [{"message": {"content": "so", "reasoning_content": "why"}}]}))
    answer = ask(client, scope, stream=False)
    assert (answer.reasoning_content, answer.text) == ("why", "so")


@pytest.mark.parametrize("said", [{"content": "Hi"}, {"content": "Hi", "reasoning_content": None}])
def test_an_answer_without_reasoning_has_none(
    routed_cloud: Cloud, client: CloudApiClient, scope: Scope, said: dict[str, Any]
) -> None:
    """As those of older backends."""
    routed_cloud.says(Answer(body={"choices": [{"message": said}]}))
    answer = ask(client, scope, stream=False)
    assert (answer.reasoning_content, answer.text) == (None, "Hi")


def test_an_answer_without_a_stream(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """One body, read the same way; the raw one is there too."""
    body = {"choices": [{"message": {"content": '{"a": 1}'}, "finish_reason": "stop"}], "usage": {"total_tokens": 7}}
    body["system_fingerprint"] = "llama.cpp-bf16"
    routed_cloud.says(Answer(body=body))
    answer = ask(client, scope, stream=False)
    assert answer.json() == {"a": 1}
    assert answer.usage == {"total_tokens": 7}
    assert answer.system_fingerprint == "llama.cpp-bf16"
    assert answer.response.json() == body


@pytest.mark.parametrize("cut", [0, 10, len(HELLO[0]), len(b"".join(HELLO)) - 1])
@pytest.mark.parametrize("reset", [False, True])
def test_a_cut_answer_is_an_error(
    routed_cloud: Cloud, client: CloudApiClient, scope: Scope, cut: int, reset: bool
) -> None:
    """Never a short answer that looks complete."""
    routed_cloud.says(Stream(frames=HELLO, cut=cut, reset=reset))
    with pytest.raises(ConnectionFailed):
        _ = ask(client, scope).text


def test_an_error_in_the_middle_is_the_backends_own(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """Its text, after what had arrived."""
    routed_cloud.says(Stream(frames=[chunk("Hel"), b'data: {"error": {"message": "out of memory"}}\n\n']))
    answer = ask(client, scope)
    with pytest.raises(ServerError, match="out of memory"):
        list(answer)


def test_what_is_no_json_is_told(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """With what it was, and that max_tokens cut it."""
    routed_cloud.says(Stream(frames=[chunk('{"a":'), chunk(finish_reason="length"), DONE]))
    with pytest.raises(StreamError, match="cut at max_tokens"):
        ask(client, scope).json()
    routed_cloud.says(Stream(frames=[chunk("[" * 5000), DONE]))
    with pytest.raises(StreamError, match="is not JSON"):
        ask(client, scope).json()
    routed_cloud.says(Stream(frames=[b"data: " + b"[" * 5000 + b"\n\n"]))
    with pytest.raises(StreamError, match="holds something that is not JSON"):
        ask(client, scope).json()


def test_tool_calls_are_put_together(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """A call's name comes once, its arguments bit by bit."""
    first = {"index": 0, "id": "call_1", "function": {"name": "look", "arguments": '{"a"'}}
    rest = {"index": 0, "function": {"arguments": ": 1}"}}
    frames = [chunk(delta={"tool_calls": [first]}), chunk(delta={"tool_calls": [rest]}), DONE]
    routed_cloud.says(Stream(frames=frames))
    answer = ask(client, scope)
    assert answer.text == ""
    call = {"id": "call_1", "type": "function", "function": {"name": "look", "arguments": '{"a": 1}'}}
    assert answer.tool_calls == [call]


def test_a_refusal_is_an_error_at_once(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """By its status and its text; it is not asked again."""
    routed_cloud.says(Answer(status=400, body={"error": "schema: no"}))
    with pytest.raises(CloudApiError, match="schema: no"):
        ask(client, scope)
    assert len(routed_cloud.calls("POST", CHAT)) == 1


@pytest.mark.parametrize("stage", ["before the headers", "in the middle"])
def test_an_abort_is_felt_at_once(routed_cloud: Cloud, client: CloudApiClient, scope: Scope, stage: str) -> None:
    """While nothing comes, before and after the first piece."""
    gate, event = threading.Event(), threading.Event()
    silent: Answer | Stream = Answer(gate=gate) if stage.startswith("before") else Stream(frames=HELLO[:1], gate=gate)
    routed_cloud.says(silent)

    def abort() -> None:
        eventually(lambda: routed_cloud.calls("POST", CHAT), "the model is asked")
        event.set()

    setter = threading.Thread(target=abort)
    setter.start()
    began = time.monotonic()
    with pytest.raises(Aborted):
        _ = ask(client, scope, abort_event=event).text
    assert time.monotonic() - began < 10
    setter.join()


def test_a_timeout_ends_it(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """For the whole answer."""
    routed_cloud.says(Stream(frames=HELLO[:1], gate=threading.Event()))
    with pytest.raises(WaitTimeout):
        _ = ask(client, scope, timeout=0.2).text


def test_leaving_early_lets_the_connection_go(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """The block's end closes it."""
    routed_cloud.says(Stream(frames=HELLO[:1], gate=threading.Event(), chunked=True))
    with ask(client, scope) as answer:
        assert next(iter(answer)) == "Hel"
    assert answer.response.raw.closed


def test_a_checkpoint_is_asked_from_its_callback(routed_cloud: Cloud) -> None:
    """Bound to the job and the step; the run goes on."""
    routed_cloud.says(Stream(frames=HELLO))
    said: list[str] = []

    def on_checkpoint(checkpoint: CheckpointContext) -> None:
        said.append(checkpoint.infer(messages=MESSAGES, temperature=0).text)

    trainer = Trainer(
        name="run", model="m", dataset=HuggingFaceDataset("a/b"), callbacks=Callbacks(on_checkpoint=on_checkpoint)
    )
    result = trainer.wait(check=True)
    assert said == ["Hello"]
    adapter = {"kind": "checkpoint", "jobId": result.job.id, "step": 2}
    assert routed_cloud.calls("POST", CHAT)[0].json()["adapter"] == adapter


def test_a_result_is_asked_and_its_base_too(routed_cloud: Cloud) -> None:
    """The final adapter, or the model it started from; a pickled result has no connection."""
    routed_cloud.says(Stream(frames=HELLO), Stream(frames=HELLO))
    result = Trainer(name="run", model="m", dataset=HuggingFaceDataset("a/b")).wait()
    assert result.chat(messages=MESSAGES, seed=5).text == "Hello"
    assert result.chat(messages=MESSAGES, base=True).text == "Hello"
    with pytest.raises(UnknownOption, match="temprature: A chat has no such option; did you mean temperature"):
        result.chat(messages=MESSAGES, temprature=0)  # type: ignore[call-arg]
    final, base = routed_cloud.calls("POST", CHAT)
    assert final.json()["adapter"] == {"kind": "final", "jobId": result.job.id}
    assert base.json()["baseModel"] == "m"
    with pytest.raises(ArkorError, match=r"CloudApiClient\.chat"):
        pickle.loads(pickle.dumps(result)).chat(messages=MESSAGES)


def test_a_text_is_continued(routed_cloud: Cloud) -> None:
    """By the adapter, its base and a checkpoint; each piece as it comes, with its blanks."""
    routed_cloud.features = {"completions"}
    said: list[str] = []

    def on_checkpoint(checkpoint: CheckpointContext) -> None:
        said.append(checkpoint.complete(prompt="a\n").text)

    dataset, callbacks = HuggingFaceDataset("a/b"), Callbacks(on_checkpoint=on_checkpoint)
    trainer = Trainer(name="run", model="m", dataset=dataset, callbacks=callbacks)
    routed_cloud.continues(" b", " b c", " b c")
    result = trainer.wait(check=True)
    answer = result.complete(prompt="a\n", max_tokens=2)
    assert (list(answer), answer.finish_reason) == ([" b", " c"], "length")
    assert result.complete(prompt="a\n", base=True).text == " b c"
    assert said == [" b"]
    checkpoint, final, base = (call.json() for call in routed_cloud.calls("POST", COMPLETIONS))
    assert checkpoint["adapter"]["kind"] == "checkpoint"
    assert final == {
        "prompt": "a\n",
        "adapter": {"kind": "final", "jobId": result.job.id},
        "maxTokens": 2,
        "stream": True,
    }
    assert base["baseModel"] == "m"


def test_several_answers_come_by_their_index(routed_cloud: Cloud, client: CloudApiClient, scope: Scope) -> None:
    """Iterating gives the first one alone, ``deltas`` all of them, and ``choices`` each as a whole."""
    routed_cloud.features = {"logprobs"}
    tokens = {"content": [{"token": "lo", "logprob": -0.5, "bytes": [108, 111], "top_logprobs": []}]}
    frames = [
        chunk("Hel"),
        chunk("Ho", index=1),
        chunk("lo", logprobs=tokens),
        chunk(index=1, finish_reason="length"),
        chunk(finish_reason="stop"),
        DONE,
    ]
    routed_cloud.says(*[Stream(frames=frames)] * 2)
    with ask(client, scope, n=2, logprobs=True) as answer:
        assert list(answer) == ["Hel", "lo"]
        assert (answer.text, answer.finish_reason) == ("Hello", "stop")
        assert [(choice.index, choice.text, choice.finish_reason) for choice in answer.choices] == [
            (0, "Hello", "stop"),
            (1, "Ho", "length"),
        ]
        assert answer.logprobs == [TokenLogprob("lo", -0.5, b"lo")]
        assert answer.choices[1].logprobs == []
    with ask(client, scope, n=2, logprobs=True) as answer:
        assert [(delta.index, delta.content) for delta in answer.deltas()] == [(0, "Hel"), (1, "Ho"), (0, "lo")]
    assert routed_cloud.calls("POST", CHAT)[0].json() == {
        "messages": MESSAGES,
        "baseModel": "m",
        "n": 2,
        "logprobs": True,
        "stream": True,
    }
    body = {"choices": [{"index": 1, "text": "b"}, {"index": 0, "text": "a"}]}
    routed_cloud.says(Answer(body=body))
    assert [choice.text for choice in ask(client, scope, n=2, stream=False).choices] == ["a", "b"]


def test_an_option_of_a_newer_backend_is_not_sent_to_an_older_one(
    routed_cloud: Cloud, client: CloudApiClient, scope: Scope
) -> None:
    """The error names it; a question without it is asked."""
    routed_cloud.features = {"inference"}
    with pytest.raises(UnsupportedByBackend, match=r"the options logprobs, n of a question.*It runs an older arkor"):
        ask(client, scope, n=2, logprobs=True)
    assert routed_cloud.calls("POST", CHAT) == []
    routed_cloud.says(Stream(frames=HELLO))
    answer = ask(client, scope, n=1)
    assert (answer.text, [choice.text for choice in answer.choices], answer.logprobs) == ("Hello", ["Hello"], [])


def test_a_completion_that_cannot_be_asked_for_is_not_sent(
    routed_cloud: Cloud, client: CloudApiClient, scope: Scope
) -> None:
    """A prompt of another type, an option of a chat, a backend that can only chat."""
    with pytest.raises(ConfigError, match=r"prompt: must be a text, not \['a'\]"):
        client.complete(scope, base_model="m", prompt=["a"])  # type: ignore[arg-type]
    with pytest.raises(UnknownOption, match="tools: A completion has no such option"):
        client.complete(scope, base_model="m", prompt="a", tools=[])  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="A completion needs a prompt"):
        client.complete(scope, base_model="m")  # type: ignore[call-arg]
    with pytest.raises(UnsupportedByBackend, match=r"with a text\. A self-hosted backend \(arkor serve\) does"):
        client.complete(scope, base_model="m", prompt="a")
    routed_cloud.features = {"inference"}
    client.capabilities()
    with pytest.raises(UnsupportedByBackend, match="It runs an older arkor: upgrade it, and start it again"):
        client.complete(scope, base_model="m", prompt="a")
    assert routed_cloud.calls("POST", COMPLETIONS) == []

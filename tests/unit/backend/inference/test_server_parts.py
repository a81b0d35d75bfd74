"""The small parts around the chat process: pipes, shares of the cores, unpacking, and the forms of an answer."""

from __future__ import annotations

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.inference.adapter_cache import AdapterFolder
from arkor.backend.inference.completions import DONE, KEEP_ALIVE, Completion, TextCompletion
from arkor.backend.inference.pipes import Pipes
from arkor.backend.processes.core_sharing import Shares, share
from arkor.backend.processes.exit_reasons import describe_chat_exit
from arkor.backend.storage.interface import Content
from arkor.backend.storage.local import LocalStorage
from arkor.serving.refusal import Refusal

ROOT = Path(__file__).parents[3]
DONE_EVENT = {"done": {"finishReason": "stop", "usage": {"total_tokens": 2}}}


def test_lines_go_both_ways() -> None:
    """One JSON object each, in UTF-8; a lone surrogate does not break the line."""
    writer = io.BytesIO()
    pipes = Pipes(io.BytesIO(b'{"cancel": 1}\n{"threads": 2}\n'), writer)
    assert list(pipes) == [{"cancel": 1}, {"threads": 2}]
    pipes.say(id=1, delta="é\ud800")
    assert json.loads(writer.getvalue()) == {"id": 1, "delta": "é?"}


def test_what_libraries_print_stays_out_of_the_protocol() -> None:
    """From Python and from C; and they read nothing of it."""
    program = """
import os, sys
from arkor.backend.inference.pipes import Pipes
pipes = Pipes.claim()
print("chatter", flush=True)
os.write(1, b"chatter from C\\n")
assert sys.stdin.read() == ""
for line in pipes:
    pipes.say(id=line["id"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input='{"id": 5}\n',
        capture_output=True,
        text=True,
        cwd=ROOT,
        timeout=30,
        check=True,
    )
    assert done.stdout == '{"id": 5}\n'
    assert "chatter\n" in done.stderr
    assert "chatter from C" in done.stderr


def test_the_chat_modules_of_the_server_load_no_libraries() -> None:
    """The server checks requests without torch, transformers or llguidance."""
    program = """
import sys
import arkor.backend.app
heavy = {"torch", "transformers", "peft", "llguidance", "numpy"} & set(sys.modules)
assert not heavy, heavy
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, timeout=30, check=True)


@pytest.mark.parametrize(
    ("cores", "max_parallel", "training", "chatting", "expected"),
    [
        (2, 1, False, False, Shares(2, 2)),
        (2, 1, True, False, Shares(2, 2)),
        (2, 1, False, True, Shares(2, 2)),
        (2, 1, True, True, Shares(1, 1)),
        (1, 1, True, True, Shares(1, 1)),
        (9, 1, True, True, Shares(5, 4)),
        (8, 2, True, False, Shares(4, 8)),
        (8, 2, True, True, Shares(2, 4)),
        (2, 4, True, True, Shares(1, 1)),
    ],
)
def test_the_cores_are_shared_only_while_both_compute(
    cores: int, max_parallel: int, training: bool, chatting: bool, expected: Shares
) -> None:
    """Each side gets half, and nobody less than one thread."""
    assert share(cores, max_parallel, training=training, chatting=chatting) == expected


@pytest.mark.parametrize(
    ("cores", "max_parallel", "kept", "expected"),
    [(2, 1, 2, Shares(1, 1)), (8, 1, 8, Shares(7, 1)), (8, 2, 4, Shares(2, 4)), (8, 4, 2, Shares(1, 4))],
)
def test_chats_get_what_jobs_leave_that_keep_their_threads(
    cores: int, max_parallel: int, kept: int, expected: Shares
) -> None:
    """At least one thread, and no more than half of the cores; a job that keeps its threads does not ask."""
    assert share(cores, max_parallel, training=True, chatting=True, kept=kept) == expected


def make_tar(path: Path, names: tuple[str, ...]) -> Path:
    with tarfile.open(path, "w") as archive:
        for name in names:
            member = tarfile.TarInfo(name)
            member.size = len(name)
            archive.addfile(member, io.BytesIO(name.encode()))
    return path


FILES = ("adapter_config.json", "adapter_model.safetensors")


def test_an_adapter_is_unpacked_once(tmp_path: Path) -> None:
    """Only what belongs to it; what an earlier process left is removed first."""
    (tmp_path / "cache" / "old").mkdir(parents=True)
    folder = AdapterFolder(tmp_path / "cache")
    storage, content = LocalStorage(tmp_path), Content(None, "abc")
    tar = make_tar(tmp_path / "a.tar", (*FILES, "../evil", "more.bin"))
    target = folder.unpack("a.tar", content, storage)
    assert sorted(item.name for item in target.iterdir()) == sorted(FILES)
    assert [item.name for item in (tmp_path / "cache").iterdir()] == ["abc"]
    assert not (tmp_path / "evil").exists()
    tar.unlink()
    assert folder.unpack("a.tar", content, storage) == target


def test_half_an_adapter_is_none(tmp_path: Path) -> None:
    """A tar without its weights leaves nothing behind."""
    folder = AdapterFolder(tmp_path / "cache")
    make_tar(tmp_path / "a.tar", FILES[:1])
    with pytest.raises(KeyError):
        folder.unpack("a.tar", Content(None, "abc"), LocalStorage(tmp_path))
    assert list((tmp_path / "cache").iterdir()) == []


def test_an_answer_that_failed_is_a_refusal() -> None:
    """With the status that the process gave."""
    events: list[Any] = [{"delta": "a"}, {"error": {"status": 503, "message": "gone"}}]
    with pytest.raises(Refusal, match="gone") as caught:
        Completion("m").whole(events)
    assert caught.value.status == 503


def test_a_stream_is_whole_only_with_its_mark() -> None:
    """Silence is filled; an answer that was left has no end."""
    completion = Completion("m", "id", 7)
    whole = list(completion.stream([{"accepted": {}}, None, {"delta": "é"}, DONE_EVENT]))
    assert (whole[1], whole[-1]) == (KEEP_ALIVE, DONE)
    assert json.loads(whole[2].removeprefix("data: ")) == {
        "id": "id",
        "object": "chat.completion.chunk",
        "created": 7,
        "model": "m",
        "choices": [{"index": 0, "delta": {"content": "é"}, "logprobs": None, "finish_reason": None}],
    }
    assert DONE not in list(completion.stream([{"delta": "a"}]))


def test_a_completion_is_streamed_as_text() -> None:
    """In the form of OpenAI's completions; a failure ends it."""
    completion = TextCompletion("m", id="id", created=7)
    head = {"id": "id", "object": "text_completion", "created": 7, "model": "m"}
    frames = list(completion.stream([{"accepted": {}}, None, {"delta": "é"}, DONE_EVENT]))
    assert (frames[0], frames[-1]) == (KEEP_ALIVE, DONE)
    told = [json.loads(frame.removeprefix("data: ")) for frame in frames[1:-1]]
    assert told == [
        {**head, "choices": [{"index": 0, "text": "é", "logprobs": None, "finish_reason": None}]},
        {**head, "choices": [{"index": 0, "text": "", "logprobs": None, "finish_reason": "stop"}]},
        {**head, "choices": [], "usage": {"total_tokens": 2}},
    ]
    failed = list(completion.stream([{"error": {"status": 500, "message": "boom"}}]))
    assert failed == ['data: {"error": {"message": "boom"}}\n\n']
    with pytest.raises(Refusal, match="boom"):
        completion.whole([{"error": {"status": 500, "message": "boom"}}])


TOKENS = [
    {"bytes": [0xF0, 0x9F], "logprob": None, "top": [], "offset": 0},
    {"bytes": list(b"x"), "logprob": -1.5, "top": [{"bytes": list(b"y"), "logprob": -0.5}], "offset": 1},
    {"bytes": [0xC3], "logprob": -0.1, "top": [{"bytes": [0xC3], "logprob": -0.1}], "offset": 2},
]


def test_tokens_of_a_chat_have_openais_form() -> None:
    """Bytes that are part of a character are spelt out."""
    events: list[Any] = [{"index": 0, "delta": "x", "logprobs": TOKENS[1:]}, DONE_EVENT]
    content = [
        {
            "token": "x",
            "logprob": -1.5,
            "bytes": [0x78],
            "top_logprobs": [{"token": "y", "logprob": -0.5, "bytes": [0x79]}],
        },
        {
            "token": "\\xc3",
            "logprob": -0.1,
            "bytes": [0xC3],
            "top_logprobs": [{"token": "\\xc3", "logprob": -0.1, "bytes": [0xC3]}],
        },
    ]
    [choice] = Completion("m", has_logprobs=True).whole(events)["choices"]
    assert choice["logprobs"] == {"content": content}
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in list(Completion("m").stream(events))[:3]]
    assert [chunk["choices"][0]["logprobs"] for chunk in chunks] == [None, {"content": content}, None]
    assert Completion("m", has_logprobs=True).whole([DONE_EVENT])["choices"][0]["logprobs"] == {"content": []}


def test_tokens_of_a_completion_have_openais_form() -> None:
    """The chosen token is among the likeliest ones, and the first of a prompt has none."""
    events: list[Any] = [{"delta": "x", "logprobs": TOKENS[:1]}, {"delta": "x", "logprobs": TOKENS[1:]}, DONE_EVENT]
    [choice] = TextCompletion("m", has_logprobs=True).whole(events)["choices"]
    assert choice["logprobs"] == {
        "tokens": ["bytes:\\xf0\\x9f", "x", "bytes:\\xc3"],
        "token_logprobs": [None, -1.5, -0.1],
        "top_logprobs": [None, {"y": -0.5, "x": -1.5}, {"bytes:\\xc3": -0.1}],
        "text_offset": [0, 1, 2],
    }


def test_choices_are_told_by_their_index() -> None:
    """In their order at once; as they come in a stream, each with its own beginning and end."""
    events: list[Any] = [
        {"accepted": {"promptTokens": 1}},
        {"index": 1, "delta": "b"},
        {"index": 0, "delta": "a"},
        {"index": 1, "ended": {"finishReason": "length"}},
        {"index": 0, **DONE_EVENT},
    ]
    body = Completion("m", n=2).whole(events)
    told = [(choice["index"], choice["message"]["content"], choice["finish_reason"]) for choice in body["choices"]]
    assert told == [(0, "a", "stop"), (1, "b", "length")]
    frames = list(Completion("m", n=2).stream(events))
    chunks = [json.loads(frame.removeprefix("data: ")) for frame in frames[:-2]]
    assert [
        (choice["index"], choice["delta"], choice["finish_reason"]) for [choice] in [c["choices"] for c in chunks]
    ] == [
        (0, {"role": "assistant", "content": ""}, None),
        (1, {"role": "assistant", "content": ""}, None),
        (1, {"content": "b"}, None),
        (0, {"content": "a"}, None),
        (1, {}, "length"),
        (0, {}, "stop"),
    ]
    assert frames[-1] == DONE


def test_the_end_of_a_process_is_described() -> None:
    """With its log, and what to expect."""
    text = describe_chat_exit(-9, "the last words")
    assert text.startswith("The process that answers chats was killed by signal SIGKILL (often: out of memory)")
    assert text.endswith("the last words")
    assert "exit code 3" in describe_chat_exit(3, "")

"""A chat process that knows no model: it does what the last message says.

``python -m tests.support.scripted_chat``. Messages, and prompts of completions, are ``<behaviour>[:<argument>]``:

- ``say:TEXT``: answers with the text, a word at a time.
- ``likely:TEXT``: as ``say``, and every word is a token with a log-probability of -0.75; ``a`` has -0.5.
- ``choices``: each answer is its index, and the last one ends first.
- ``think:TEXT``: thinks the text and answers with it.
- ``call``: calls a function.
- ``refuse``: 400.
- ``break``: says a word, then fails.
- ``crash``: writes to its log and ends.
- ``abort``: writes to its log and aborts if llama.cpp is to answer; otherwise answers with ``transformers``.
- ``hold``: says ``held`` and then nothing more, until it is cancelled; then the next ``cancelled`` says so.
- ``cancelled``: answers with how many ``hold`` were cancelled.
- ``mute``: says nothing at all.
- ``line``: answers with the question as it came, as JSON.
- ``threads``: answers with the last number of threads it was told.
- ``pid``: answers with its process id.
- anything else: answers with a JSON object.
"""

from __future__ import annotations

import json
import os
import sys
from typing import Any

_cancelled: list[int] = []
_threads: list[int] = []


def say(**fields: Any) -> None:
    """Tell the server something."""
    sys.stdout.write(json.dumps(fields) + "\n")
    sys.stdout.flush()


def likely(word: str, offset: int) -> dict[str, Any]:
    """Return a token as the chat process tells it."""
    top = [{"bytes": list(b"a"), "logprob": -0.5}]
    return {"bytes": list(word.encode()), "logprob": -0.75, "top": top, "offset": offset}


def answer(line: dict[str, Any]) -> None:
    """Behave."""
    request = line["request"]
    asked = request["messages"][-1]["content"] if request["prompt"] is None else request["prompt"]
    behaviour, _, argument = asked.partition(":")
    number = line["id"]
    if behaviour == "refuse":
        say(id=number, error={"status": 400, "message": "scripted refusal"})
        return
    if behaviour == "crash":
        print("MemoryError: scripted crash", file=sys.stderr, flush=True)
        os._exit(7)
    if behaviour == "abort" and line["gguf"]:
        print("GGML_ASSERT(scripted) failed", file=sys.stderr, flush=True)
        os.abort()
    if behaviour == "mute":
        return
    say(id=number, accepted={"promptTokens": 3})
    if behaviour in {"hold", "break"}:
        say(id=number, delta="held")
        if behaviour == "break":
            say(id=number, error={"status": 500, "message": "scripted failure"})
        return
    if behaviour == "choices":
        usage = {"prompt_tokens": 3, "completion_tokens": request["n"], "total_tokens": 3 + request["n"]}
        for index in reversed(range(request["n"])):
            say(id=number, index=index, delta=str(index))
            end = {"finishReason": "length"}
            say(id=number, index=index, **({"ended": end} if index else {"done": {**end, "usage": usage}}))
        return
    if behaviour == "think":
        say(id=number, reasoning=argument)
    if behaviour == "call":
        function = {"name": "f", "arguments": '{"x": 1}'}
        say(id=number, toolCalls=[{"id": "call_1", "type": "function", "function": function}])
    texts = {
        "line": json.dumps(line),
        "pid": str(os.getpid()),
        "cancelled": str(len(_cancelled)),
        "threads": str(_threads[-1:]),
        "call": "",
        "abort": "transformers",
    }
    text = texts.get(behaviour, argument if behaviour in {"say", "likely", "think"} else '{"category": "technical"}')
    words = [f"{word} " for word in text.split(" ")[:-1]] + [text.split(" ")[-1]]
    offset = 0
    for word in filter(None, words):
        say(id=number, delta=word, **({"logprobs": [likely(word, offset)]} if behaviour == "likely" else {}))
        offset += len(word)
    usage = {"prompt_tokens": 3, "completion_tokens": len(words), "total_tokens": 3 + len(words)}
    say(id=number, done={"finishReason": "tool_calls" if behaviour == "call" else "stop", "usage": usage})


def main() -> None:
    """Answer until standard input ends."""
    for text in sys.stdin:
        line = json.loads(text)
        if "cancel" in line:
            _cancelled.append(line["cancel"])
        elif "threads" in line:
            _threads.append(line["threads"])
        else:
            answer(line)


if __name__ == "__main__":
    main()

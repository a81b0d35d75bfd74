"""Talking to the server over the process's standard input and output: one JSON object a line, either way.

From the server::

    {"id", "base", "adapter": {"name", "path"} | null, "gguf": {"model", "dtype", "adapter"} | null, "request": {…},
     "templateOptions": {…}, "escapeSpecialTokens": true | false}   answer this
    {"id", "base", …, "request": {…}, "renders": true}              tell its prompt, and answer nothing
    {"id", "base", …, "score": {"ids", "start", "top"}}             tell how likely the ids from start on are
    {"cancel": id}                                                  nobody waits for that answer any more
    {"threads": n}                                                  compute with so many threads

Each question also has ``isBackground``, whether all others come first, and ``dtype``, the number type of
the model, or null for the one that it answers best in. ``gguf`` are the files with which llama.cpp answers, with
``adapter`` if there is one; null if transformers answers. ``engine`` and ``dtype`` tell who answers, and in which
number type.

To the server, about the answer with that id; ``index`` is 0, or of several answers to the question which one::

    {"id", "accepted": {"promptTokens", "engine", "dtype"}}  it will be answered: nothing in it was refused
    {"id", "index", "reasoning": "text"}     more of its reasoning
    {"id", "index", "delta": "text"}         more of its text; with "logprobs": [TOKEN, …] where they are wanted
    {"id", "index", "toolCalls": [{…}]}      the functions it calls, in chat completions form
    {"id", "index", "ended": {"finishReason"}}  the end of one of several answers, while others go on
    {"id", "index", "done": {"finishReason", "usage"}}  the end of the last one; token counts of all of them
    {"id", "rendered": {"ids"}}              its end: the prompt's tokens
    {"id", "scored": {"logprob", "tokens", "engine", "dtype"}}  its end: the sum of the natural logarithms, and how many
                                             tokens these are; with the ``top`` tokens in each place, "likeliest":
                                             [[[id, logprob], …], …], where they are wanted
    {"id", "error": {"status", "message"}}   its end, or why it cannot be answered

A TOKEN is ``{"bytes", "logprob", "top": [{"bytes", "logprob"}], "offset"}``: the bytes of its text, the natural
logarithm of its probability or null, the likeliest ones in its place, and how many characters of the text are before
it.

This is between two halves of one program, of one version: nobody else speaks it, and it is not checked.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterator
from typing import Any, BinaryIO


class Pipes:
    """The two ends, one JSON object at a time. ``say`` is thread-safe.

    Args:
        reader: where lines come from; its end is the end of the process.
        writer: where lines go.
    """

    def __init__(self, reader: BinaryIO, writer: BinaryIO) -> None:
        self._reader = reader
        self._writer = writer
        self._lock = threading.Lock()

    @classmethod
    def claim(cls) -> Pipes:
        """Take standard input and output for the protocol alone.

        What a library prints afterwards, from Python or from C, goes to standard error; what it reads is empty.
        """
        reader, writer = os.dup(0), os.dup(1)
        empty = os.open(os.devnull, os.O_RDONLY)
        os.dup2(empty, 0)
        os.close(empty)
        sys.stdout.flush()
        os.dup2(2, 1)
        return cls(os.fdopen(reader, "rb"), os.fdopen(writer, "wb"))

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Yield what the server says, until it has closed its end."""
        for line in self._reader:
            yield json.loads(line)

    def say(self, **fields: Any) -> None:
        """Tell the server something.

        Raises:
            BrokenPipeError: it is gone.
        """
        line = json.dumps(fields, ensure_ascii=False).encode("utf-8", "replace") + b"\n"
        with self._lock:
            self._writer.write(line)
            self._writer.flush()

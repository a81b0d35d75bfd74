"""A program of others that loads an export and is asked, in a process of its own.

Standard input is a JSON list of questions::

    {"messages": [...], "tools": [...] | null, "prompt": "text" | null, "options": {…}, "ids": [...], "start": n}

Standard output is a JSON list of answers, one for each::

    {"prompt": [ids], "likeliest": [[[id, logprob], ...], ...], "ends": true | false}

``prompt`` are the tokens of the question; ``likeliest`` has for each place from ``start`` on the ``TOP`` likeliest
tokens, likeliest first; ``ends`` says whether the likeliest token in the last place ends an answer.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

TOP = 20


def serve(answer: Callable[..., list[dict[str, Any]]], arguments: Sequence[str]) -> NoReturn:
    """Answer the questions on standard input, and leave.

    Args:
        answer: loads an export, and returns the answers to a list of questions.
        arguments: name the export; ``answer`` gets them behind the questions.
    """
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print
    output.write(json.dumps(answer(json.load(sys.stdin), *arguments)))
    output.flush()
    sys.stderr.flush()
    os._exit(0)  # taking the libraries down in order lasts 1.5 s

"""``python -m arkor.backend.inference_worker``: answer chats until the server closes standard input."""

from __future__ import annotations

import logging
import os
import sys
import threading
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from arkor.backend.inference.pipes import Pipes
from arkor.backend.inference.request import ChatRequest

if TYPE_CHECKING:
    from arkor.backend.inference_worker.scheduler import Question, Scheduler

log = logging.getLogger("arkor.chat")


def prepare_environment() -> None:
    """Set what the libraries read when they are loaded: nothing is fetched, and no progress is drawn."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    os.environ["TOKENIZERS_PARALLELISM"] = "false"
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    os.environ.setdefault("PYTORCH_ENABLE_MPS_FALLBACK", "1")  # what a Mac's GPU cannot do, its processor does
    # Threads that wait for each other sleep, with GNU's OpenMP after 10 µs. By default they spin, and where something
    # else computes on the same cores they keep each other from them: half a token a second instead of 17, beside a
    # training on both cores. Without those 10 µs llama.cpp, whose threads wait often, makes 31 tokens a second, not 45.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def serve(lines: Iterable[Mapping[str, Any]], scheduler: Scheduler) -> None:
    """Give the scheduler what the server says, and close it when the server is gone.

    Args:
        lines: see ``pipes``.
        scheduler: answers.
    """
    try:
        for line in lines:
            if "cancel" in line:
                scheduler.cancel(line["cancel"])
            elif "threads" in line:
                scheduler.set_threads(line["threads"])
            else:
                scheduler.ask(_question(line))
    finally:
        scheduler.close()


def _question(line: Mapping[str, Any]) -> Question:
    from arkor.backend.inference_worker.scheduler import Gguf, Question

    request, score, gguf = line.get("request"), line.get("score"), line.get("gguf")
    return Question(
        line["id"],
        line["base"],
        line["adapter"] and (line["adapter"]["name"], line["adapter"]["path"]),
        request and ChatRequest.from_line(request),
        gguf and Gguf(**gguf),
        template_options=line["templateOptions"],
        escape_special_tokens=line["escapeSpecialTokens"],
        score=score and (score["ids"], score["start"]),
        top=score["top"] if score else 0,
        renders=line.get("renders", False),
        is_background=line["isBackground"],
        dtype=line["dtype"],
    )


def main() -> int:
    """Run the process; return its exit code."""
    pipes = Pipes.claim()
    logging.basicConfig(stream=sys.stderr, level=logging.INFO, format="%(asctime)s %(levelname)s %(message)s")
    prepare_environment()
    from arkor.backend.inference_worker.scheduler import Scheduler  # takes seconds: the libraries

    scheduler = Scheduler(pipes.say)
    threading.Thread(target=serve, args=(pipes, scheduler), name="orders", daemon=True).start()
    try:
        scheduler.run()
    except BrokenPipeError:
        log.info("The server is gone")
    return 0


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the libraries' own clean-up takes a second, and there is nothing to clean up

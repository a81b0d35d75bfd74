"""How the machine's cores are shared between the workers and the chat process.

Left alone, each takes all of them, and they slow each other down far more than by half: on two cores a training step
takes 7 to 9 s instead of 3 to 4, and a chat gives 3 tokens a second instead of 12.
"""

from __future__ import annotations

import attrs


@attrs.frozen
class Shares:
    """How many threads each computes with, at least 1.

    Attributes:
        worker: one worker.
        chat: the chat process.
    """

    worker: int
    chat: int


def share(cores: int, max_parallel: int, *, training: bool, chatting: bool, kept: int = 0) -> Shares:
    """Divide the cores: only while a training runs and a chat is answered, each side has half.

    Args:
        cores: how many the machine has.
        max_parallel: how many jobs may train at the same time.
        training: whether any does.
        chatting: whether a chat is being answered.
        kept: the threads of those that give no cores away; chats get the other cores, at least 1.
    """
    chat = max(1, min(cores // 2, cores - kept)) if training and chatting else cores
    left = cores - chat if training and chatting else cores
    return Shares(worker=max(1, left // max_parallel), chat=chat)

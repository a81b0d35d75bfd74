"""Work in between that leaves the random numbers of a training as they are."""

from __future__ import annotations

import random
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def same_random_state() -> Iterator[None]:
    """Let the random numbers after the block be those that would have come without it."""
    python, numpy = random.getstate(), np.random.get_state()
    mps = torch.mps.get_rng_state() if torch.backends.mps.is_available() else None
    with torch.random.fork_rng():  # of the processor and the CUDA devices
        yield
    if mps is not None:
        torch.mps.set_rng_state(mps)
    random.setstate(python)
    np.random.set_state(numpy)

"""Stands in for another process of an attempt on several devices: it does what the attempt's name says.

Names are ``<what the process of rank 1 does>,<what that of rank 2 does>`` and so on: ``complete``; ``stay`` until it is
ended, ``lose`` a partner, or the exit code that it ends with, minus the number of a signal. With a text after a colon
it says why.
"""

from __future__ import annotations

import os
import pickle
import sys

from arkor.backend.training_worker.others import PARTNER_LOST_EXIT_CODE, say
from arkor.backend.training_worker.plan import Part


def main() -> int:
    part: Part = pickle.load(sys.stdin.buffer)
    what, _, why = part.plan.spec.name.split(",")[part.rank - 1].partition(":")
    part.examples.with_name(f"gpu-{part.rank}").write_text(os.environ.get("CUDA_VISIBLE_DEVICES", "none"))
    if why:
        say(why, sys.stdout.buffer)
    if what == "complete":
        return 0
    if what == "stay":
        sys.stdin.buffer.read()
    if what in {"stay", "lose"}:
        return PARTNER_LOST_EXIT_CODE
    if int(what) < 0:
        os.kill(os.getpid(), -int(what))
    return int(what)


if __name__ == "__main__":
    sys.exit(main())

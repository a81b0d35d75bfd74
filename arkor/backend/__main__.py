"""``python -m arkor.backend``."""

from arkor.backend.command import main

main()

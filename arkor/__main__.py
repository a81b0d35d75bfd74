"""``python -m arkor``: the command line, for where the ``arkor`` script is not on the path."""

from arkor.cli import main

main()

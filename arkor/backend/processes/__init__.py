"""Processes that the backend starts: the engines of workers, how a process ended, who has which cores."""

"""A worker that trains nothing: ``backend.py`` reports in its place."""

import threading

threading.Event().wait()

"""Talking to a backend over HTTP."""

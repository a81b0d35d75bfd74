"""Adapters that were trained elsewhere, the server side: taking one in, and making a job of it."""

"""The worker: one process that trains one attempt at a job and reports what happens over HTTP.

``python -m arkor.backend.worker SPEC`` is started by an engine. Everything heavy (torch, transformers, TRL, PEFT) is
imported inside functions, so that the first heartbeat leaves before the libraries are loaded.
"""

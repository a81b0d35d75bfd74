"""The worker: one process that trains one attempt at a job and reports over HTTP how it goes.

An engine starts it as ``python -m arkor.backend.training_worker SPEC``. Everything heavy (torch, transformers, TRL,
PEFT) is imported inside functions, so that the first heartbeat leaves before the libraries are loaded.
"""

"""The process that makes a report: ``python -m arkor.backend.evaluation_worker``.

It has the rows, the scorers and a tokenizer, and no model: it asks the server, which has the chat engine answer.
"""

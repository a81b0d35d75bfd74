"""The process that answers chats: ``python -m arkor.backend.inference_worker``.

It alone loads torch and transformers for a chat. ``arkor.backend.inference`` is the server's side of it.
"""

"""The process that answers chats: ``python -m arkor.backend.chat``.

The server imports ``request`` and what that needs, which load neither torch nor transformers. Everything else runs in
the process alone.
"""

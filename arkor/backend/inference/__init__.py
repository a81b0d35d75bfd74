"""Answering chats, the server's side: what is asked of which model, and the process that knows the answer."""

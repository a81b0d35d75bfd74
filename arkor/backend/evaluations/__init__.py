"""Evaluations, the server's side: their queue, and the process that makes one, whose questions are answered here."""

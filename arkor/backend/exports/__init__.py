"""Exports, the server side: their queue, and what the process that makes one is told."""

"""Models and adapters as GGUF files, the format of llama.cpp: for exports, and for chats that llama.cpp answers."""

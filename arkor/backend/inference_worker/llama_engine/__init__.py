"""The engine that computes with llama.cpp: several times as fast on a processor, for models that it knows."""

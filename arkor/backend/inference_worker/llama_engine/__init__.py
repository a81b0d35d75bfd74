"""The engine that computes with llama.cpp: quicker on most processors, for models that it knows."""

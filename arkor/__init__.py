"""Fine-tune open-weight language models from plain Python."""

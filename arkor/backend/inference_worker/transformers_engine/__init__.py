"""The engine that computes with PyTorch and transformers: every model, every adapter, with or without a GPU."""

"""From rows to the examples that the trainer is fed."""

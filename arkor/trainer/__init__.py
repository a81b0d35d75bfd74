"""One training job from Python: submit it, follow it, call back, cancel it."""

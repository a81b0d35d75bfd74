"""Whether a model got better: scorers, intervals, and the report that puts them together."""

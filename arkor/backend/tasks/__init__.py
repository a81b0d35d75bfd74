"""Work on what jobs have made, evaluations and exports: its queue, and the process that does a piece."""

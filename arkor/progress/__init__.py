"""How far a job is, as its events say; the terminal and the notebook show it."""

"""How the command line shows a job: lines, bars at the foot of a terminal, tables, JSON."""

"""What the processes have in common that work on what jobs have made."""

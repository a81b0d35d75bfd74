"""What the two servers, the backend and Studio, have in common: waitress, refusals, and signals to stop."""

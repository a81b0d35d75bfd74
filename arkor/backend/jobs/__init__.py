"""Jobs of the backend: whether one can be done, when it runs, its folder, its end."""

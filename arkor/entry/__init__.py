"""A project's code: its manifest, the bundle that is made of it, importing and running it."""

"""Every call of a backend, and what a client needs around it: streams, uploads, downloads, projects."""

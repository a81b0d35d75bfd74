"""Who the user is to a backend: credentials on disk, and how new ones are obtained."""

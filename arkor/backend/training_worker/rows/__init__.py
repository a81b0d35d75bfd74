"""The rows of a job: fetched, read, checked, kept on disk."""

"""Backups of a backend's data folder: made while it runs, and restored into an empty one."""

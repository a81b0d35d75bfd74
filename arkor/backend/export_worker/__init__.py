"""The process that makes an export: a folder that other programs load, its check, and its card."""

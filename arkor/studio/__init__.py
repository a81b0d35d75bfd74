"""Studio: a local web page to start trainings, watch jobs and try models. ``arkor dev`` runs it.

What is in it, and what protects it: docs/studio.md.
"""

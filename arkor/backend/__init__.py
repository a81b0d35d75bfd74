"""The self-hosted backend: an HTTP server that queues jobs, and the workers that train them.

``python -m arkor.backend`` starts it. The process that serves HTTP never loads torch: only workers do.
"""

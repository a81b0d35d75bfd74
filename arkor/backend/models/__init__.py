"""The models that this backend trains: a small catalogue of its own, folders, and the Hugging Face hub.

Nothing here loads torch: converting a model, the one thing that needs it, happens in a process of its own.
"""

from arkor.backend.models.catalogue import listing
from arkor.backend.models.checking import check
from arkor.backend.models.naming import resolve
from arkor.backend.models.origin import origin_of
from arkor.backend.models.pulling import pull

__all__ = ["check", "listing", "origin_of", "pull", "resolve"]

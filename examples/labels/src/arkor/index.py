"""The entry: what ``arkor start`` runs."""

from arkor import create_arkor

from .trainer import trainer

arkor = create_arkor(trainer=trainer)

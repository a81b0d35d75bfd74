"""Drawings and texts that a page or a notebook shows: curves as SVG, and text that HTML takes for text."""

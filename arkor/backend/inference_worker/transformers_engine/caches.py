"""What a model keeps of the tokens that it has read: caches of keys and values, cut and joined."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from transformers import DynamicCache

Pairs = Sequence[tuple[torch.Tensor, torch.Tensor] | None]
"""Of each layer the keys and the values, (batch, heads, time, width of a head); None for a layer that keeps none."""


def pairs(cache: DynamicCache) -> Pairs:
    """Return the tensors of a cache; a cache never changes them, it only takes others."""
    return [(layer.keys, layer.values) if layer.is_initialized else None for layer in cache.layers]


def cache_of(tensors: Pairs) -> DynamicCache:
    """Return a cache that begins with tensors."""
    cache = DynamicCache()
    for number, pair in enumerate(tensors):
        if pair is not None:
            cache.update(*pair, number)
    return cache


def widened(cache: DynamicCache, by: int) -> Pairs:
    """Put places that mean nothing before every row."""
    pad = torch.nn.functional.pad
    before = (0, 0, by, 0)
    return [pair and (pad(pair[0], before), pad(pair[1], before)) for pair in pairs(cache)]


def repeated(tensors: Pairs, count: int) -> Pairs:
    """Make so many rows out of one."""
    return [pair and (pair[0].expand(count, -1, -1, -1), pair[1].expand(count, -1, -1, -1)) for pair in tensors]


def joined(upper: Pairs, lower: Pairs) -> DynamicCache:
    """Put the rows of two caches, which are as wide as each other, into one."""
    return cache_of(
        [
            first and second and (torch.cat([first[0], second[0]]), torch.cat([first[1], second[1]]))
            for first, second in zip(upper, lower, strict=True)
        ]
    )


def narrowed(cache: DynamicCache, rows: Sequence[int], spare: int) -> DynamicCache:
    """Keep some rows, without the first places."""
    return cache_of([pair and (pair[0][rows, :, spare:], pair[1][rows, :, spare:]) for pair in pairs(cache)])

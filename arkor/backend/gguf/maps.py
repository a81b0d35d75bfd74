"""Which tensors of llama.cpp the weights of a model become."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import attrs


@attrs.frozen
class Part:
    """A tensor of llama.cpp that has rows of a weight.

    Attributes:
        tensor: its name.
        rows: which rows it has, in its order; None for all of them as they are.
    """

    tensor: str
    rows: Sequence[int] | None


@attrs.frozen
class TensorMap:
    """What llama.cpp makes of a model.

    Attributes:
        architecture: what it calls this kind of model.
        modules: the names of the modules whose weights it keeps row by row, each with what becomes of its weight.
    """

    architecture: str
    modules: Mapping[str, Sequence[Part]]

    def write(self, file: Path) -> None:
        """Write it as JSON. Orders of rows are many and long, and nearly all alike: each stands there once."""
        orders: list[Sequence[int]] = []
        modules: dict[str, list[tuple[str, int | None]]] = {}
        for name, parts in self.modules.items():
            modules[name] = []
            for part in parts:
                if part.rows is not None and part.rows not in orders:
                    orders.append(part.rows)
                modules[name].append((part.tensor, None if part.rows is None else orders.index(part.rows)))
        file.write_text(json.dumps({"architecture": self.architecture, "orders": orders, "modules": modules}))

    @classmethod
    def read(cls, file: Path) -> TensorMap:
        """Take what ``write`` wrote."""
        found = json.loads(file.read_text())
        orders = found["orders"]
        return cls(
            found["architecture"],
            {
                name: [Part(tensor, None if order is None else orders[order]) for tensor, order in parts]
                for name, parts in found["modules"].items()
            },
        )

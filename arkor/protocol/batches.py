"""The batches of a job that lacks memory: smaller ones, and more of them in an optimizer step.

Protocol: docs/protocol.md, "Worker reports".
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import attrs

from arkor.protocol.config import SETTINGS


@attrs.frozen
class Batches:
    """How an optimizer step is divided; it always takes as many rows as the job asks for.

    Attributes:
        size: rows in a batch.
        count: batches in an optimizer step.
    """

    size: int
    count: int

    @classmethod
    def of(cls, config: Mapping[str, Any], size: int | None = None) -> Batches:
        """Return the batches of a job.

        Args:
            config: its settings in wire names.
            size: rows in a batch by now; None for as many as the settings say.
        """
        asked = config.get("batchSize") or SETTINGS["batch_size"].value
        count = config.get("gradientAccumulationSteps") or SETTINGS["gradient_accumulation_steps"].value
        return cls(asked, count) if size is None else cls(size, count * asked // size)

    def smaller(self) -> Batches | None:
        """Return batches of half the rows, or the next smaller part of them; None if a batch has one row.

        Example:
            ``Batches(6, 1).smaller() == Batches(3, 2)``
        """
        sizes = (size for size in range(self.size // 2, 0, -1) if self.size % size == 0)
        size = next(sizes, None)
        return None if size is None else Batches(size, self.count * self.size // size)

    def applied_to(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """Return a job's settings with these batches; those of evaluations become smaller to the same part."""
        asked = Batches.of(config)
        if self == asked:
            return dict(config)
        changed = {**config, "batchSize": self.size, "gradientAccumulationSteps": self.count}
        if "evalBatchSize" in config:
            changed["evalBatchSize"] = max(1, config["evalBatchSize"] * self.size // asked.size)
        return changed

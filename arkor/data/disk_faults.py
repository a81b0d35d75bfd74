"""What the system says of a disk, as an error of the rows that are written to it."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

from arkor.errors import DatasetError


@contextlib.contextmanager
def kept_on_disk(source: str, fault: str, advice: str = "") -> Iterator[None]:
    """Make an OSError of the block a DatasetError.

    Args:
        source: what to call the rows in the error.
        fault: what cannot be done, such as ``cannot be kept in the temporary folder``.
        advice: sentences behind the reason.

    Raises:
        DatasetError: the disk is full, say.

    Example:
        ``with kept_on_disk("rows.csv", "cannot be kept"): file.write(row)``
    """
    try:
        yield
    except OSError as exc:
        raise DatasetError(source, f"{fault}: {exc.strerror or exc}{advice}") from exc

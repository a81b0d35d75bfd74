"""Rows of tables and of mappings, made rows of a format that JSON can hold.

Protocol: docs/protocol.md, "Datasets".
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from arkor.data.conversion import Conversion, Converter, Found, warn_of_unused
from arkor.data.json_values import Unfit, check_keys, is_missing, plain_inside, plain_value


class RowReader:
    """Makes rows of what JSON has of the rows of one source, without the columns that are not used.

    Args:
        converter: of this source.
        is_table: whether all rows have the same columns.
    """

    def __init__(self, converter: Converter, *, is_table: bool) -> None:
        self._converter = converter
        self._is_table = is_table
        self._used: frozenset[str] = frozenset()
        self._required: list[str] = []

    def choose(self, sample: Mapping[Any, Any]) -> Sequence[str]:
        """Choose the columns of a table by its first row."""
        return self._choose(1, sample).used(sample)

    def read(self, rows: Iterable[Any]) -> Iterator[Found]:
        """Yield the rows, made rows of a format."""
        unfit: dict[str, None] = {}
        for number, row in enumerate(rows, start=1):
            try:
                plain = self._plain_row(number, row, unfit)
            except Unfit as exc:
                yield number, None, str(exc)
            except RecursionError:
                yield number, None, "is nested too deeply"
            else:
                yield (number, *self._converted(plain, row))
        warn_of_unused(self._converter.source, unfit, ())

    def _choose(self, number: int, row: Mapping[Any, Any]) -> Conversion:
        sample = {name: _sampled(value, is_table=self._is_table) for name, value in row.items()}
        conversion = self._converter.decide(number, sample, has_all=self._is_table)
        old_names = {new: old for old, new in conversion.renamed.items()}
        self._used = frozenset(conversion.used(sample)) | {old_names.get(new, new) for new in conversion.known}
        self._required = [old_names.get(new, new) for new in conversion.required]
        if self._is_table:
            warn_of_unused(self._converter.source, sample, self._used)
        return conversion

    def _plain_row(self, number: int, row: Any, unfit: dict[str, None]) -> dict[str, Any]:
        """Return a row of what JSON has, without the keys that have no value.

        Args:
            number: its number.
            row: the row.
            unfit: takes in the names of columns that are not used and hold what JSON does not have.
        """
        if not isinstance(row, Mapping):
            if not hasattr(row, "keys"):  # sqlite3.Row has it, and is no Mapping
                raise Unfit(f"is of type {type(row).__name__}, not a mapping")
            row = dict(row)
        check_keys(row)
        if self._converter.conversion is None:
            self._choose(number, row)
        plain = {}
        for name, value in row.items():
            if self._is_table and name not in self._used:
                continue
            try:
                item = plain_inside(f".{name}", value, is_table=self._is_table, may_be_nan=True)
            except (Unfit, RecursionError):
                if name in self._used:
                    raise
                unfit[name] = None
                continue
            if not is_missing(item):
                plain[name] = item
        return plain

    def _converted(self, plain: dict[str, Any], row: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
        empty = next((name for name in self._required if name not in plain and name in row), None)
        if empty is not None:
            return None, f"{empty}: has no value (null or NaN)"
        conversion = self._converter.conversion
        return (plain, None) if conversion is None else conversion.apply(plain)


def _sampled(value: Any, *, is_table: bool) -> Any:
    """Return a value of the first row, as far as it decides what the row is."""
    try:
        plain = plain_value(value, is_table=is_table)
    except (Unfit, RecursionError):
        return object()
    return None if is_missing(plain) else plain

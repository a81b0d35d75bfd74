"""Rows as people have them, made rows of a format: columns are renamed, and ShareGPT's turns become messages.

The first row of a source decides for all of them. What travels to a backend has one of the four formats.

Protocol: docs/protocol.md, "Jobs": the rows under "The config object".
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import attrs

from arkor.data.columns import CONTEXTS, CONVERSATIONS, advice, described, recognised
from arkor.data.formats import (
    FORMATS,
    NO_FORMAT,
    PREFERENCE,
    PREFERENCE_COLUMNS,
    PREFERENCES_LATER,
    is_preference,
    name_list,
    row_format,
    says_nothing,
)
from arkor.data.sharegpt import NoMessages, with_messages
from arkor.errors import DatasetError

Found = tuple[int, Any, "str | None"]  # a row's number from 1, growing; the row; the reason it is bad, where known

logger = logging.getLogger(__name__)


@attrs.frozen(kw_only=True)
class Conversion:
    """What becomes of each row of a source.

    Attributes:
        format: the format of the rows that come out, or ``preference``.
        renamed: new names of columns by their old ones.
        turns: the column, by its new name, whose turns become messages; None if there is none.
        unexpected: columns that the first row did not have, and that would change what is recognised.
    """

    format: str
    renamed: Mapping[str, str] = attrs.field(factory=dict)
    turns: str | None = None
    unexpected: frozenset[str] = frozenset()

    @property
    def is_plain(self) -> bool:
        """Whether rows stay as they are, and can be trained on."""
        return not self.renamed and self.turns is None and self.format != PREFERENCE

    @property
    def required(self) -> tuple[str, ...]:
        """The columns that each row has, by their new names."""
        if self.turns is not None:
            return (self.turns,)
        return () if self.format == PREFERENCE else FORMATS[self.format].required

    @property
    def known(self) -> tuple[str, ...]:
        """All columns that count, by their new names, in the order of the rows that come out."""
        if self.format == PREFERENCE:
            return PREFERENCE_COLUMNS
        form = FORMATS[self.format]
        further = (*form.optional, *form.checked, *form.refused)
        return (*form.columns, *further) if self.turns is None else (self.turns, "system", *further)

    def used(self, names: Iterable[str]) -> list[str]:
        """Return which of some columns count, by their old names, in the order of the rows that come out."""
        by_new_name = {self.renamed.get(name, name): name for name in names}
        return [by_new_name[new] for new in dict.fromkeys(self.known) if new in by_new_name]

    def apply(self, row: Mapping[str, Any]) -> tuple[Mapping[str, Any] | None, str | None]:
        """Return a row of the format, or None and the reason it cannot be one."""
        if self.renamed:
            renamed = {self.renamed.get(name, name): value for name, value in row.items()}
            if len(renamed) < len(row):
                return None, f"has a column beside the one that gets its name: {name_list(_clashes(self.renamed, row))}"
            late = [name for name in sorted(self.unexpected) if not says_nothing(row.get(name))]
            if late:
                return None, f"has {name_list(late)}, which no row before it has: say what it is with columns="
            row = renamed
        if self.turns is None or self.turns not in row:
            return row, None
        try:
            return with_messages(row, self.turns), None
        except NoMessages as exc:
            return None, str(exc)


class Converter:
    """Makes rows of a format of the rows of one source.

    Args:
        source: what to call it in an error.
        columns: new names of its columns by their old ones, or None.
        may_prefer: whether rows of preferences are let through, which are checked and not trained on.

    Attributes:
        source: as given.
        conversion: what becomes of each row; None until the first one was seen.
        recognised: which columns were recognised, in words; empty if none were.
    """

    def __init__(self, source: str, columns: Mapping[str, str] | None, *, may_prefer: bool = False) -> None:
        self.conversion: Conversion | None = None
        self.recognised = ""
        self.source = source
        self._columns = dict(columns or {})
        self._may_prefer = may_prefer

    def convert(self, found: Iterable[Found]) -> Iterator[Found]:
        """Yield rows of a format, and the reasons of those that are bad.

        Args:
            found: the rows as they are in the source.

        Raises:
            DatasetError: the first row fits no format.
        """
        for number, row, reason in found:
            if reason is None and isinstance(row, Mapping):
                conversion = self.conversion or self.decide(number, row)
                yield (number, *conversion.apply(row))
            else:
                yield number, row, reason

    def decide(
        self, number: int, sample: Mapping[str, Any], *, has_all: bool = False, told: str = "its keys"
    ) -> Conversion:
        """Decide by the first row what becomes of all of them, and warn once of what was recognised.

        Args:
            number: its number.
            sample: the row.
            has_all: whether the row has all columns that the source has.
            told: what to call the columns in an error.

        Raises:
            DatasetError: it fits no format, or a column that is to be renamed is absent.
        """
        absent = [name for name in self._columns if name not in sample]
        clashes = _clashes(self._columns, sample)
        if (absent and has_all) or clashes:
            fault = f"has no column {name_list(absent)}" if absent else f"has a column {name_list(clashes)} already"
            raise DatasetError(
                self.source, f"{fault}, so columns= cannot be done (its columns: {name_list([*sample])})"
            )
        conversion = self._conversion(sample)
        if conversion is None:
            lack = f"has no column {name_list(absent)}; " if absent else ""
            reason = f"{NO_FORMAT} ({told}: {name_list(sorted(sample) if told == 'its keys' else [*sample])})"
            raise DatasetError(self.source, f"{lack}its columns fit no format: {advice(sample)}", [(number, reason)])
        if conversion.format == PREFERENCE and not self._may_prefer:
            raise DatasetError(self.source, f"has {PREFERENCES_LATER}")
        if self.recognised:
            logger.warning("%s: columns are taken as follows: %s. columns= changes that", self.source, self.recognised)
        self.conversion = conversion
        return conversion

    def _conversion(self, sample: Mapping[str, Any]) -> Conversion | None:
        named = _renamed(sample, self._columns)
        conversion = _of_names(named)
        guessed = recognised(named) if conversion is None else {}
        if guessed:
            named = _renamed(named, guessed)
            self.recognised = described(guessed)
            conversion = _of_names(named)
        if conversion is None:
            return None
        old_names = {new: old for old, new in self._columns.items()}
        renamed = {**self._columns, **{old_names.get(name, name): new for name, new in guessed.items()}}
        unexpected = frozenset(CONTEXTS).difference(sample, named) if guessed and "prompt" in named else frozenset()
        return attrs.evolve(conversion, renamed=renamed, unexpected=unexpected)


def is_of_a_format(row: Mapping[str, Any]) -> bool:
    """Say whether a row can be trained on as it is, by its keys."""
    conversion = _of_names(row)
    return conversion is not None and conversion.is_plain


def warn_of_unused(source: str, names: Iterable[str], used: Iterable[str]) -> None:
    """Warn of the columns of a table that no model would see, and that are left away."""
    unused = [name for name in names if name not in set(used)]
    if unused:
        logger.warning("%s: left away, as the format has no such columns: %s", source, name_list(unused))


def _of_names(row: Mapping[str, Any]) -> Conversion | None:
    if is_preference(row):
        return Conversion(format=PREFERENCE)
    kind = row_format(row)
    if kind == "chatml":
        return Conversion(format=kind, turns="messages" if _has_speakers(row["messages"]) else None)
    if kind is not None:
        return Conversion(format=kind)
    turns = next((name for name in CONVERSATIONS if name in row), None)
    return None if turns is None else Conversion(format="chatml", turns=turns)


def _has_speakers(turns: Any) -> bool:
    return isinstance(turns, list) and bool(turns) and isinstance(turns[0], Mapping) and "from" in turns[0]


def _renamed(row: Mapping[str, Any], columns: Mapping[str, str]) -> dict[str, Any]:
    return {columns.get(name, name): value for name, value in row.items()}


def _clashes(columns: Mapping[str, str], row: Iterable[str]) -> list[str]:
    return [name for name in row if name in columns.values() and name not in columns]

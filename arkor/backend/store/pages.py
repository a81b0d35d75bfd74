"""Lists in pages: an order that never changes, and a cursor that says where a page ended.

A cursor is made of what the list is ordered by. So it stays good when its item is deleted, and an item that is new at
the other end changes nothing.

Protocol: docs/protocol.md, "Pages".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

from sqlalchemy import Column, Connection, RowMapping, Select, tuple_

T = TypeVar("T")

_BETWEEN = "~"  # in no time and in no id


class BadCursor(Exception):
    """No page of a list has ended with this cursor."""


def read_page(
    connection: Connection,
    query: Select[Any],
    order: tuple[Column[str], Column[str]],
    make: Callable[[RowMapping], T],
    *,
    newest_first: bool,
    limit: int | None,
    after: str | None,
) -> tuple[list[T], str | None]:
    """Read a part of a list.

    Args:
        connection: where to read.
        query: selects all of the list.
        order: the columns with the time and the id.
        make: turns a row into an item.
        newest_first: by time and id from high to low; else from low to high.
        limit: the most items; None for all.
        after: the cursor of the page before; None for the first one.

    Returns:
        The items, and the cursor of the next page; None where there is nothing more.

    Raises:
        BadCursor: the cursor has another form.
    """
    if after is not None:
        time, found, item_id = after.partition(_BETWEEN)
        if not found:
            raise BadCursor
        place, key = tuple_(*order), (time, item_id)
        query = query.where(place < key if newest_first else place > key)
    query = query.order_by(*(column.desc() if newest_first else column for column in order))
    rows = connection.execute(query if limit is None else query.limit(limit + 1)).mappings().all()
    shown = rows[:limit]
    is_all = len(shown) == len(rows)
    return [make(row) for row in shown], None if is_all else _BETWEEN.join(shown[-1][column] for column in order)

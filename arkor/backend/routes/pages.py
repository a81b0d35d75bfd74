"""The part of a list that a request asks for.

Protocol: docs/protocol.md, "Pages".
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Any

import attrs
from flask import request

from arkor.backend.store.pages import BadCursor
from arkor.backend.whole_numbers import read_whole_number
from arkor.serving.refusal import Refusal

MOST = 1000


@attrs.frozen
class Page:
    """What a request wants of a list.

    Attributes:
        limit: the most items, or None for all of them.
        after: the cursor that the page before ended with, or None for the first page.
    """

    limit: int | None
    after: str | None


def requested_page() -> Page:
    """Return the page that the request names.

    Raises:
        Refusal: 400, ``limit`` is not a whole number from 1 to 1000, or ``after`` is empty.
    """
    limit, after = request.args.get("limit"), request.args.get("after")
    if after == "":
        raise bad_cursor(after)
    return Page(None if limit is None else read_whole_number(_number(limit), "limit", 1, MOST), after)


def bad_cursor(after: str) -> Refusal:
    """Return the refusal of a cursor that no page of this list has ended with."""
    return Refusal(400, f"after: must be the next of an earlier page of this list, not {after!r:.100}.")


@contextlib.contextmanager
def good_cursor(page: Page) -> Iterator[None]:
    """Refuse a page whose cursor turns out to be none inside the block."""
    try:
        yield
    except BadCursor:
        raise bad_cursor(page.after or "") from None


def answer(name: str, items: Sequence[Any], following: str | None) -> dict[str, Any]:
    """Return the body of a page.

    Args:
        name: what the list is called.
        items: as they travel.
        following: the cursor to ask on with, or None where there is nothing more.
    """
    return {name: items} if following is None else {name: items, "next": following}


def _number(text: str) -> int | str:
    return int(text) if text.isascii() and text.isdigit() and len(text) <= len(str(MOST)) else text

"""Rows out of a JSON array, one element at a time.

Specification: RFC 8259, in UTF-8.
"""

from __future__ import annotations

import codecs
import io
import json
import re
from collections.abc import Iterator

from arkor.data.conversion import Found
from arkor.data.jsonl import LONG_ROW, MAX_ROW_BYTES, decode

CHUNK_CHARACTERS = 64 * 1024

_BLANKS = re.compile(r"[ \t\n\r]*")
_LONGEST_WORD = 16  # characters: so near to the end of a cut text a decoder may complain, or end a number


class _Broken(Exception):
    """The array cannot be read any further; the text is the reason."""


def read_array(file: io.BufferedReader) -> Iterator[Found]:
    """Read the elements of an array.

    Args:
        file: the content, UTF-8 with or without a byte order mark, which begins with ``[``; it stays open.

    Yields:
        (the element's place from 1, its value or None, the reason it cannot be read or None); after an element that
        cannot be read there is no other one.
    """
    text, number = _Text(file), 0
    try:
        text.take("[")
        while text.next_character() != "]":
            if number:
                text.take(",")
            number += 1
            yield number, text.element(), None
        text.take("]")
        text.take("")
    except _Broken as exc:
        yield max(number, 1), None, str(exc)


class _Text:
    """A text that is read as far as needed, and forgotten once it was taken."""

    def __init__(self, file: io.BufferedReader) -> None:
        self._file = file
        self._decode = codecs.getincrementaldecoder("utf-8-sig")().decode
        self._held = ""
        self._at = 0  # where what was not taken yet begins
        self._is_whole = False

    def next_character(self) -> str:
        """Return the next character that is no blank; an empty text at the end."""
        while True:
            self._at = _BLANKS.match(self._held, self._at).end()  # type: ignore[union-attr]  # it matches always
            if self._at < len(self._held) or self._is_whole:
                return self._held[self._at : self._at + 1]
            self._read(CHUNK_CHARACTERS)

    def take(self, expected: str) -> None:
        """Take the next character."""
        found = self.next_character()
        if found != expected:
            seen = f"{found!r} stands" if found else "the file ends"
            due = repr(expected) if expected else "the end of the file"
            raise _Broken(f"is not JSON: {seen} where {due} is due")
        self._at += 1

    def element(self) -> object:
        """Take the next value."""
        self.next_character()
        while True:
            try:
                value, end = decode(self._held, self._at)
            except json.JSONDecodeError as exc:
                self._read_on(exc)
            except RecursionError as exc:
                raise _Broken("is not JSON: nested too deeply") from exc
            except ValueError as exc:
                raise _Broken(f"is not JSON: {exc}") from exc
            else:
                if self._is_whole or end <= len(self._held) - _LONGEST_WORD:  # else a number may go on
                    self._at = end
                    return value
                self._read(CHUNK_CHARACTERS)

    def _read_on(self, exc: json.JSONDecodeError) -> None:
        """Read more of a value that may have been cut; as much again, so that a long one takes linear time."""
        is_cut = exc.msg.startswith("Unterminated string") or exc.pos > len(self._held) - _LONGEST_WORD
        if self._is_whole or not is_cut:
            place = exc.pos - self._at + 1
            raise _Broken(f"is not JSON: {exc.msg} (character {place} of the row)") from exc
        held = len(self._held) - self._at
        if held > MAX_ROW_BYTES:
            raise _Broken(LONG_ROW) from exc
        self._read(max(CHUNK_CHARACTERS, held))

    def _read(self, count: int) -> None:
        data = self._file.read(count)
        self._is_whole = len(data) < count
        try:
            more = self._decode(data, self._is_whole)
        except UnicodeDecodeError as exc:
            raise _Broken("is not UTF-8") from exc
        self._held, self._at = self._held[self._at :] + more, 0

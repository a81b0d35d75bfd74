"""The pages for people are in plain words: few of those that make readers stumble."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", "examples/README.md", *sorted(f"docs/{page.name}" for page in (ROOT / "docs").glob("*.md")))
# Each often stands for a noun that the reader has to guess; well-known projects have 0 to 8 of them in 1,000 words.
STUMBLES = frozenset(
    ("where", "what", "whoever", "whatever", "none", "nobody", "anew", "told", "tells", "behind", "such")
)
MOST_IN_1000 = 8


def _words(markdown: str) -> list[str]:
    """Return the words of a page, in lower case, without its code."""
    prose = re.sub(r"^```.*?^```", "", markdown, flags=re.DOTALL | re.MULTILINE)
    prose = re.sub(r"`[^`]*`", "", prose)
    return re.findall(r"[a-z]+", prose.lower())


def test_code_is_not_counted() -> None:
    """Neither a block nor a span of it, and a word counts in any case."""
    assert _words("What it `tells` you:\n```console\n$ nobody\n```\nDone.") == ["what", "it", "you", "done"]


@pytest.mark.parametrize("page", PAGES)
def test_a_page_has_few_words_that_readers_stumble_over(page: str) -> None:
    """At most 8 in 1,000; the message lists them."""
    text = (ROOT / page).read_text(encoding="utf-8")
    words = _words(text)
    found = [word for word in words if word in STUMBLES]
    assert len(found) * 1000 <= MOST_IN_1000 * len(words), f"{len(found)} in {len(words)} words: {sorted(found)}"

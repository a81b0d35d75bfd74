"""Lines of a ``.gitignore`` that may be there already."""

from __future__ import annotations

from collections.abc import Sequence


def with_ignored(content: bytes, patterns: Sequence[str]) -> tuple[bytes, list[str]]:
    """Add the patterns that a file does not have in one form or another.

    Args:
        content: the file as it is. Its bytes stay as they are; what is added ends its lines as they do.
        patterns: folders to ignore, each with a slash at its end.

    Returns:
        (the new content, the patterns that were added).
    """
    present = {_folder(line) for line in content.decode(errors="replace").lstrip("\ufeff").splitlines()}
    missing = [pattern for pattern in patterns if _folder(pattern) not in present]
    if not missing:
        return content, []
    end = b"\r\n" if b"\r\n" in content else b"\n"
    gap = end if content and not content.endswith((b"\n", b"\r")) else b""
    return content + gap + b"".join(pattern.encode() + end for pattern in missing), missing


def _folder(line: str) -> str:
    """Return the folder that a line ignores: ``/.arkor``, ``**/.arkor/`` and ``.arkor/*`` are all ``.arkor``."""
    text = line.strip()
    for prefix in ("**/", "/"):
        text = text.removeprefix(prefix)
    for suffix in ("/**", "/*", "/"):
        text = text.removesuffix(suffix)
    return text

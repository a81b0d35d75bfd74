"""An answer that is not a success, raised from wherever the reason is found."""

from __future__ import annotations

from typing import Any

from arkor.errors import ArkorError


class Refusal(ArkorError):
    """The request is refused; the app turns this into a JSON answer.

    Attributes:
        status: the HTTP status, 400-599.
        error: the text of the answer's ``error``.
        headers: response headers.
        fields: what the answer's body says beside ``error``.
    """

    def __init__(self, status: int, error: str, *, headers: dict[str, str] | None = None, **fields: Any) -> None:
        super().__init__(status, error)
        self.status = status
        self.error = error
        self.headers = headers or {}
        self.fields = fields

    def __str__(self) -> str:
        return self.error

    @property
    def body(self) -> dict[str, Any]:
        """The answer's JSON object."""
        return {"error": self.error, **self.fields}

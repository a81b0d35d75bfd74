"""Things that do not leave their process in a pickle, since they hold a token or a connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, NoReturn, TypeVar

T = TypeVar("T", bound="NotPickled")


class NotPickled:
    """A base of such things. A copy in the same process is the thing itself."""

    __slots__ = ()
    _instead: ClassVar[str]  # what to do in place of pickling, as a sentence

    def __reduce__(self) -> NoReturn:
        raise TypeError(
            f"{type(self).__name__} holds a token or a connection, so it cannot be pickled. {self._instead}"
        )

    def __copy__(self: T) -> T:
        return self

    def __deepcopy__(self: T, _memo: Mapping[int, Any]) -> T:
        return self

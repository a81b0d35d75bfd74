"""Options by name: a keyword that does not exist is answered with the nearest one that does."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from arkor.errors import UnknownOption

_CLOSE = 0.7  # of difflib: "top_k" is a misspelt "top_p", "best_of" is none, and "adaptor" is an "adapter"
_BY_KEYWORD = frozenset({inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY})

Target = TypeVar("Target", bound=Callable[..., Any])


def nearest_name(name: str, known: Iterable[str]) -> str | None:
    """Return the name that was most likely meant, or None.

    Args:
        name: a name that does not exist.
        known: the names that do.

    Example:
        ``nearest_name("temprature", ["temperature", "top_p"])`` is ``"temperature"``; ``lr`` is near to
        ``learning_rate``, ``rank`` to ``r`` and ``epochs`` to ``num_train_epochs``.
    """
    import difflib  # a mistake alone needs it

    given, names = name.lower(), sorted(known)
    initials = [one for one in names if "_" in one and given == "".join(part[:1] for part in one.split("_"))]
    begun = [one for one in names if given and one.startswith(given)]
    close = difflib.get_close_matches(given, names, n=3, cutoff=_CLOSE)
    close.sort(key=lambda one: one.rpartition("_")[2] != given.rpartition("_")[2])  # max_steps and eval_steps are kin
    related = [one for one in names if given and (given in one or given.startswith(one) or given.endswith(one))]
    return next(iter((*initials, *begun, *close, *related)), None)


def unknown_option(owner: str, name: str, known: Iterable[str]) -> UnknownOption:
    """Return the error for an option that does not exist.

    Args:
        owner: what has no such option, as the beginning of a sentence.
        name: the option that was given.
        known: the options that there are.
    """
    nearest = nearest_name(name, known)
    advice = f"; did you mean {nearest}?" if nearest else f"; it has {', '.join(known)}"
    return UnknownOption(name, f"{owner} has no such option{advice}", nearest)


def known_options(target: Target) -> Target:
    """Decorate a function, or a class, so that a call with an unknown keyword raises UnknownOption.

    Its signature stays as it is, for ``help()``, for ``inspect.signature`` and for type checkers.

    Args:
        target: a function that does not take any keyword, or a class with such an ``__init__``.
    """
    if isinstance(target, type):
        target.__init__ = known_options(target.__init__)  # type: ignore[misc]  # of this class alone
        return target
    names = [name for name, one in inspect.signature(target).parameters.items() if one.kind in _BY_KEYWORD]
    owner = target.__qualname__.removesuffix(".__init__")

    @functools.wraps(target)
    def checked(*args: Any, **options: Any) -> Any:
        for name in options:
            if name not in names:
                raise unknown_option(owner, name, [one for one in names if one not in {"self", "cls"}])
        return target(*args, **options)

    return checked  # type: ignore[return-value]  # it takes what the target takes

"""Places for texts: contexts are made when they are needed, and what two texts begin with is read once."""

from __future__ import annotations

from collections.abc import Sequence

import attrs

from arkor.backend.inference_worker.llama_engine.library import LlamaError
from arkor.backend.inference_worker.llama_engine.model import Context, Model
from arkor.backend.models.hardware import available_bytes
from arkor.backend.settings import GIB
from arkor.serving.refusal import Refusal

_SHORTEST = 512  # tokens that a text may have, at least: most answers fit, so that most are made together
_MOST_OF_MEMORY = 0.5  # of what is available, for places that may be needed
_MOST_SPARE_BYTES = GIB // 4  # of places for the first text, which may stay the only one; making them takes 0.1 s
_MOST_IDLE_BYTES = GIB // 2  # of contexts without texts, beside the one that was used last


@attrs.define(eq=False)
class Place:
    """Where a text is.

    Attributes:
        context: what keeps it.
        number: which of the context's places.
    """

    context: Context
    number: int

    @property
    def read(self) -> int:
        """How many tokens of the text are read."""
        return len(self.context.texts[self.number])


class Places:
    """The places of one model's texts. Not thread-safe.

    Each context has one adapter: to give it another one takes longer than a token. Texts of one context are gone on
    with together.

    Args:
        model: the model.
        token_bytes: what it keeps of a token, in bytes; 0 where that is not known.
        longest: how many tokens a text has at most; None where the model does not say.
    """

    def __init__(self, model: Model, token_bytes: int, longest: int | None) -> None:
        self._model = model
        self._token_bytes = token_bytes
        self._longest = longest
        self._contexts: list[Context] = []  # the one that was used last is the last one
        self._taken: dict[Context, set[int]] = {}

    def take(
        self,
        ids: Sequence[int],
        adapter: int | None,
        length: int,
        *,
        texts: int,
        likely: int,
        in_company: bool,
    ) -> list[Place]:
        """Take places for texts with the same beginning; the first place may have some of it already.

        Args:
            ids: how the texts begin, whose last token is left to be read; empty if all of it is to be read.
            adapter: as ``Model.load_adapter`` named it, or None.
            length: how many tokens each has at most.
            texts: how many.
            likely: how many places may be needed soon, these included.
            in_company: whether there are other texts, so that it is likely indeed.

        Returns:
            Places of one context.

        Raises:
            Refusal: 503, the memory is too small.
        """
        context = self._fitting(adapter, length, texts) or self._new(
            adapter, length, texts, likely, in_company=in_company
        )
        self._contexts.remove(context)
        self._contexts.append(context)
        taken = self._taken[context]
        free = [number for number in range(len(context.texts)) if number not in taken]
        first = self._begin(context, free, ids)
        numbers = [first, *[number for number in free if number != first][: texts - 1]]
        taken.update(numbers)
        return [Place(context, number) for number in numbers]

    def give_back(self, place: Place) -> None:
        """Free a place; what was read there is kept for texts that begin alike."""
        self._taken[place.context].discard(place.number)
        kept_bytes = 0
        for context in [context for context in reversed(self._contexts) if not self._taken[context]]:
            kept_bytes += self._bytes(len(context.texts), context.length)
            if kept_bytes > _MOST_IDLE_BYTES and context is not self._contexts[-1]:
                self._drop(context)

    def drop(self, adapter: int) -> None:
        """Let go of the contexts of an adapter that no text uses."""
        for context in [context for context in self._contexts if context.adapter == adapter]:
            self._drop(context)

    def close(self) -> None:
        """Let go of all contexts."""
        for context in list(self._contexts):
            self._drop(context)

    def _drop(self, context: Context) -> None:
        self._contexts.remove(context)
        del self._taken[context]
        context.close()

    def _fitting(self, adapter: int | None, length: int, texts: int) -> Context | None:
        """Return a context with room: the one with the most texts, as those are gone on with together."""
        return next(
            (
                context
                for context in sorted(self._contexts, key=lambda context: (-len(self._taken[context]), context.length))
                if context.adapter == adapter
                and context.length >= length
                and len(context.texts) - len(self._taken[context]) >= texts
            ),
            None,
        )

    def _new(self, adapter: int | None, length: int, texts: int, likely: int, *, in_company: bool) -> Context:
        """Make a context with as many places as are likely to be needed and fit, and let go of those without texts."""
        room = max(_SHORTEST, 1 << (length - 1).bit_length())
        room = max(length, room if self._longest is None else min(room, self._longest))
        for idle in [context for context in self._contexts if not self._taken[context]]:
            if idle.adapter == adapter or self._bytes(texts, room) > available_bytes():
                self._drop(idle)
        count, most = likely, _MOST_OF_MEMORY * available_bytes()
        most = most if in_company else min(most, _MOST_SPARE_BYTES)
        while count > texts and self._bytes(count, room) > most:
            count = max(texts, count // 2)
        needed, there = self._bytes(count, room), available_bytes()
        if needed > there:
            raise Refusal(
                503,
                f"Not enough memory for {count} texts of {room} tokens: they take about {needed / GIB:.1f} GiB, and "
                f"{there / GIB:.1f} GiB are available.",
            )
        try:
            context = Context(self._model, adapter, count, room)
        except LlamaError as exc:
            raise Refusal(503, str(exc)) from exc
        self._contexts.append(context)
        self._taken[context] = set()
        return context

    def _bytes(self, texts: int, length: int) -> int:
        return texts * length * self._token_bytes

    def _begin(self, context: Context, free: Sequence[int], ids: Sequence[int]) -> int:
        """Return a free place that has as much of a text's beginning as any place of the context has."""
        lengths = [context.common(number, ids) for number in range(len(context.texts))]
        best = max(range(len(lengths)), key=lengths.__getitem__)
        place = max(free, key=lengths.__getitem__)
        if lengths[place] < lengths[best]:
            place = free[0]
            context.copy(best, place)
        context.cut(place, lengths[best])
        return place

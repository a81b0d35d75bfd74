"""Places for texts, with a real model of bytes: what is read once, what is kept, and what is let go."""

from __future__ import annotations

import pytest
import torch

from arkor.backend.inference_worker.llama_engine import places as module
from arkor.backend.inference_worker.llama_engine.adapters import Adapters
from arkor.backend.inference_worker.llama_engine.batch import _BACKGROUND, _SEVERAL, LlamaBatch
from arkor.backend.inference_worker.llama_engine.library import LlamaError
from arkor.backend.inference_worker.llama_engine.model import PIECE_TOKENS, Context, Model, Part
from arkor.backend.inference_worker.llama_engine.places import Place, Places
from arkor.serving.refusal import Refusal
from tests.support.answer_rows import FakeRow, advance
from tests.support.byte_model import CONTEXT, write_byte_model
from tests.support.converted import converted

pytestmark = [
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),  # the libraries' own warnings
]

TEXT = [100 + place % 90 for place in range(200)]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Model:
    return Model(str(converted(write_byte_model(tmp_path_factory.mktemp("places") / "model")).file))


def make(model: Model, token_bytes: int = 64) -> Places:
    return Places(model, token_bytes, CONTEXT)


def take(
    places: Places,
    ids: list[int],
    *,
    texts: int = 1,
    likely: int = 1,
    length: int = CONTEXT,
    in_company: bool = True,
) -> list[Place]:
    return places.take(ids, None, length, texts=texts, likely=likely, in_company=in_company)


def read(place: Place, ids: list[int]) -> None:
    """Read the rest of a text in pieces, as a batch does."""
    while rest := ids[place.read : place.read + PIECE_TOKENS]:
        place.context.read([Part(place.number, rest, ())])


def test_what_texts_begin_with_is_read_once(model: Model) -> None:
    """In whole pieces, from a place that is free or in use; never the last token."""
    places = make(model)
    (first,) = take(places, TEXT, likely=4)
    assert first.read == 0
    read(first, TEXT)
    (beside,) = take(places, [*TEXT[:100], 5, 6])
    assert (beside.number != first.number, beside.read) == (True, 96)
    (same,) = take(places, TEXT[:64])
    assert same.read == 32
    places.give_back(first)
    (again,) = take(places, TEXT)
    assert (again.number, again.read) == (first.number, 192)
    assert [len(place.context.texts) for place in (first, beside, same, again)] == [4] * 4


def test_a_text_that_is_read_whole_begins_anew(model: Model) -> None:
    """Whatever the place had."""
    places = make(model)
    (first,) = take(places, TEXT)
    read(first, TEXT)
    places.give_back(first)
    (again,) = take(places, [])
    assert again.read == 0


def test_what_was_not_read_in_whole_pieces_is_no_beginning(model: Model) -> None:
    """An answer is made token by token, and another number of tokens in a call rounds otherwise."""
    places = make(model)
    (place,) = take(places, TEXT)
    for token in TEXT[:80]:
        place.context.read([Part(place.number, [token], [0])])
    places.give_back(place)
    assert take(places, TEXT)[0].read == 0


def test_memory_that_is_not_there_is_refused(model: Model) -> None:
    """With what it would take; fewer places are made first."""
    with pytest.raises(Refusal, match="Not enough memory for 1 texts of 256 tokens") as caught:
        take(make(model, token_bytes=2**40), TEXT, likely=8)
    assert caught.value.status == 503


def test_fewer_places_are_made_if_memory_is_short(model: Model, monkeypatch: pytest.MonkeyPatch) -> None:
    """As many as take half of it, and at least those that are asked for."""
    monkeypatch.setattr(module, "available_bytes", lambda: 8 * CONTEXT * 64)
    assert len(take(make(model), TEXT, likely=16)[0].context.texts) == 4
    assert len(take(make(model), TEXT, texts=6, likely=16)[0].context.texts) == 6


def test_a_text_comes_to_those_that_are_there(model: Model) -> None:
    """They are gone on with together; also if a shorter context would do."""
    places = make(model)
    (short,) = take(places, TEXT[:8], likely=4, length=CONTEXT)
    (long,) = take(places, TEXT[:8], likely=4, length=2 * CONTEXT)
    assert short.context is not long.context
    places.give_back(short)
    assert take(places, TEXT[:8], length=CONTEXT)[0].context is long.context


def test_an_answer_that_is_complete_has_given_its_place_to_the_next_one(model: Model) -> None:
    """So that one context is enough for as many answers as it has places."""
    places = make(model)
    batch = LlamaBatch(places, Adapters(model, places))
    for _ in range(3):
        rows = [FakeRow(TEXT[: 5 + length], 3) for length in range(_SEVERAL)]
        for row in rows:
            batch.add(row)  # type: ignore[arg-type]
        while batch.rows:
            batch.turn(advance)
    assert len(places._contexts) == 1


@pytest.mark.parametrize(("in_company", "made"), [(False, 2), (True, 8)])
def test_the_first_text_gets_few_spare_places(
    model: Model, monkeypatch: pytest.MonkeyPatch, in_company: bool, made: int
) -> None:
    """It may stay the only one."""
    monkeypatch.setattr(module, "_MOST_SPARE_BYTES", 3 * CONTEXT * 64)
    assert len(take(make(model), TEXT, likely=8, in_company=in_company)[0].context.texts) == made


def test_the_first_row_of_a_report_gets_places_for_all_that_follow(
    model: Model, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that they are in one context, and are gone on with together."""
    monkeypatch.setattr(module, "_MOST_SPARE_BYTES", 0)
    places = make(model)
    LlamaBatch(places, Adapters(model, places)).add(FakeRow(TEXT[:5], 3, is_background=True))  # type: ignore[arg-type]
    assert [len(context.texts) for context in places._contexts] == [_BACKGROUND]


@pytest.mark.parametrize(("most", "kept"), [(2**30, 2), (0, 1)])
def test_contexts_without_texts_are_kept_while_they_are_small(
    model: Model, monkeypatch: pytest.MonkeyPatch, most: int, kept: int
) -> None:
    """The one that was used last stays in any case."""
    monkeypatch.setattr(module, "_MOST_IDLE_BYTES", most)
    places = make(model)
    (first,) = take(places, TEXT)
    (second,) = take(places, TEXT)
    assert first.context is not second.context
    places.give_back(first)
    places.give_back(second)
    assert len(places._contexts) == kept
    assert places._contexts[-1] is second.context
    places.close()
    assert places._contexts == []


def test_texts_go_on_together_with_others_between_them(model: Model) -> None:
    """What is between them, read in part or full, stays as it is, to the last bit."""
    asked, alone = Context(model, None, 5, CONTEXT), Context(model, None, 1, CONTEXT)
    for start in range(0, CONTEXT, PIECE_TOKENS):
        asked.read([Part(3, TEXT[:PIECE_TOKENS], ())])
        if start < 64:
            asked.read([Part(1, TEXT[start : start + PIECE_TOKENS], ())])
            alone.read([Part(0, TEXT[start : start + PIECE_TOKENS], ())])
    before = [list(text) for text in asked.texts]
    together = asked.read([Part(place, [7], [0]) for place in (0, 2, 4)]).clone()
    assert asked.texts == [[7], before[1], [7], before[3], [7]]
    last = TEXT[64 : 64 + PIECE_TOKENS]
    assert torch.equal(asked.read([Part(1, last, [31])]), alone.read([Part(0, last, [31])]))
    alone.cut(0, 0)
    expected = alone.read([Part(0, [7], [0])])
    torch.testing.assert_close(together, expected.expand(3, -1))
    asked.close()
    alone.close()


def test_a_call_that_fails_forgets_the_texts_in_it(model: Model) -> None:
    """A text longer than its place: the next one is read as if nothing had been there."""
    context = Context(model, None, 2, CONTEXT)
    for _ in range(CONTEXT // PIECE_TOKENS):
        context.read([Part(0, TEXT[:PIECE_TOKENS], ())])
    with pytest.raises(LlamaError, match=r"llama\.cpp failed with code 1"):
        context.read([Part(0, [5], [0])])
    assert context.texts[0] == []
    context.read([Part(0, [5], [0])])
    context.close()

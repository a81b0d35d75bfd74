"""What every engine of chats has to do, each with the same small models and adapters: the conformance suite.

A new engine is one more entry in ``ENGINES``.
"""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import attrs
import pytest

from arkor.client.unpack import unpack
from arkor.serving.refusal import Refusal
from tests.support.adapters import write_adapter_tar
from tests.support.answer_rows import ExactRow, FakeRow, advance, run
from tests.support.byte_model import write_byte_model
from tests.support.converted import gguf_of

pytestmark = [
    pytest.mark.training,
    pytest.mark.usefixtures("one_thread"),
    pytest.mark.filterwarnings("default"),  # the libraries' own warnings
]

PROMPTS = [list(range(100, 100 + length)) for length in (5, 40, 3, 17, 80, 9)]
LENGTHS = [12, 4, 16, 5, 9, 7]


@attrs.define
class World:
    """A model, adapters of it, and the engine that is tried."""

    engine: str
    folder: Path
    adapters: dict[int, Path] = attrs.Factory(dict)

    def load(self, dtype: str | None = None) -> Any:
        """Load the model anew, in float32 if nothing else is said: a batch rounds nearly as a single row does then."""
        if self.engine == "transformers":
            from arkor.backend.inference_worker.transformers_engine.base import LoadedBase

            return LoadedBase(str(self.folder), dtype or "float32")
        from arkor.backend.inference_worker.llama_engine.base import LlamaBase

        dtype = dtype or "f32"
        return LlamaBase(str(self.folder), gguf_of(self.folder, dtype).model, dtype)

    def adapter(self, seed: int) -> Path:
        """Return the folder of an adapter."""
        if seed not in self.adapters:
            beside = self.folder.parent
            write_adapter_tar(beside / "adapter.tar", self.folder, seed=seed, scale=0.8)
            with (beside / "adapter.tar").open("rb") as archive:
                unpack(archive, beside / str(seed))
            self.adapters[seed] = beside / str(seed)
        return self.adapters[seed]

    def path(self, seed: int) -> str:
        """Return what the engine loads an adapter from."""
        if self.engine == "transformers":
            return str(self.adapter(seed))
        return str(gguf_of(self.folder, adapter=self.adapter(seed)).adapter)

    def expected(self, prompt: Sequence[int], count: int, seed: int | None = None) -> list[int]:
        """Return the likeliest tokens behind a prompt, by PEFT and transformers alone."""
        import torch
        from peft import PeftModel
        from transformers import AutoModelForCausalLM

        model = AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32)
        if seed is not None:
            model = PeftModel.from_pretrained(model, str(self.adapter(seed)))
        ids = list(prompt)
        with torch.inference_mode():
            for _ in range(count):
                ids.append(int(model(torch.tensor([ids])).logits[0, -1].argmax()))
        return ids[len(prompt) :]


ENGINES = {"transformers": 256, "transformers, in small pieces": 16, "llama.cpp": 32}  # tokens of a piece of a prompt
HALF = {"transformers": "bfloat16", "llama.cpp": "bf16"}


@pytest.fixture(scope="module", params=ENGINES)
def world(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    engine = request.param.partition(",")[0]
    with pytest.MonkeyPatch.context() as patch:
        if engine == "transformers":
            pieces = "arkor.backend.inference_worker.transformers_engine.batch.PIECE_TOKENS"
            patch.setattr(pieces, ENGINES[request.param])
        yield World(engine, write_byte_model(tmp_path_factory.mktemp("engine") / "model"))


def test_rows_that_join_and_leave_are_made_as_if_alone(world: World) -> None:
    """Token by token what the model makes of each."""
    rows = [FakeRow(prompt, count) for prompt, count in zip(PROMPTS, LENGTHS, strict=True)]
    run(world.load(), rows)
    assert [row.made for row in rows] == [world.expected(row.prompt, row.count) for row in rows]


def test_rows_with_different_adapters_do_not_mix(world: World) -> None:
    """Each is made with its own, and the base stays as it was."""
    base = world.load()
    names = {seed: base.adapters.load(str(seed), world.path(seed), ()) for seed in (1, 2)}
    seeds = [[None, 1, 2][place % 3] for place in range(len(PROMPTS))]
    rows = [FakeRow(prompt, 8, names.get(seed)) for prompt, seed in zip(PROMPTS, seeds, strict=True)]  # type: ignore[arg-type]
    run(base, rows)
    expected = [world.expected(prompt, 8, seed) for prompt, seed in zip(PROMPTS, seeds, strict=True)]
    assert [row.made for row in rows] == expected
    assert [made == world.expected(prompt, 8) for prompt, made in zip(PROMPTS, expected, strict=True)] == [
        *(True, False, False) * 2
    ]


def test_answers_to_one_prompt_go_on_by_themselves(world: World) -> None:
    """The prompt is read once, and each has its own end."""
    base = world.load()
    batch, rows = base.new_batch(), [FakeRow(PROMPTS[1], count) for count in (3, 9, 6)]
    other = FakeRow(PROMPTS[0], 12)
    batch.add(other)
    batch.turn(advance)
    batch.add(*rows)
    while batch.rows:
        batch.turn(advance)
    expected = world.expected(PROMPTS[1], 9)
    assert [row.made for row in rows] == [expected[:3], expected, expected[:6]]
    assert other.made == world.expected(PROMPTS[0], 12)


def test_a_row_that_is_to_be_alone_is_the_same_in_company(world: World) -> None:
    """To the last bit of its logits, in 16 bits, with prompts in pieces, adapters that change, and like beginnings."""
    base = world.load(HALF[world.engine])
    names = [None, *[base.adapters.load(str(seed), world.path(seed), ()) for seed in (1, 2)]]

    def rows(*, alone: bool) -> list[FakeRow]:
        return [ExactRow(prompt, 12, names[place % 3], alone) for place, prompt in enumerate(PROMPTS)]

    expected = rows(alone=True)
    for row in expected:
        run(base, [row])
    company, joined = rows(alone=True), rows(alone=False)
    run(base, [*joined[:2], company[0], company[1], joined[2], *company[2:], *joined[3:]])
    assert [row.made for row in company] == [row.made for row in expected]


def test_a_long_prompt_leaves_the_others_their_turns(world: World) -> None:
    """It is read in pieces, between which the others get tokens."""
    batch, short, long = (
        world.load().new_batch(),
        FakeRow(PROMPTS[0], 200),
        FakeRow([100 + n % 90 for n in range(250)], 2),
    )
    batch.add(short)
    batch.turn(advance)
    batch.add(long)
    before = len(short.made)
    batch.turn(advance)
    assert len(short.made) > before
    while not long.done:
        batch.turn(advance)
    assert long.made == world.expected(long.prompt, 2)


@pytest.mark.parametrize("alone", [False, True])
def test_a_row_that_is_no_longer_wanted_leaves_its_batch(world: World, alone: bool) -> None:
    """Between two tokens: nothing more is made of it, and the others go on."""
    batch = world.load().new_batch()
    left, stays = FakeRow(PROMPTS[0], 8, alone=alone), FakeRow(PROMPTS[1], 8)
    for row in (left, stays):
        batch.add(row)
    batch.turn(advance)
    left.done = True
    made = len(left.made)
    while batch.rows:
        batch.turn(advance)
    assert (len(left.made), stays.made) == (made, world.expected(PROMPTS[1], 8))


def test_a_batch_that_is_cleared_forgets_all_its_rows(world: World) -> None:
    """Those that are being made, alone or not, and those whose prompts are unread; it can be used again."""
    batch = world.load().new_batch()
    rows = [FakeRow(PROMPTS[place], 8, alone=place == 1) for place in range(3)]
    done = FakeRow(PROMPTS[3], 8)
    for row in (*rows[:2], done):
        batch.add(row)
    batch.turn(advance)
    done.done = True
    batch.add(rows[2])
    assert {id(row) for row in batch.clear()} == {id(row) for row in rows}
    assert batch.rows == []
    again = FakeRow(PROMPTS[0], 8)
    batch.add(again)
    while batch.rows:
        batch.turn(advance)
    assert again.made == world.expected(PROMPTS[0], 8)


def test_the_least_recently_used_adapter_goes(world: World) -> None:
    """Never one that is in use; one that comes back gives the same answers."""
    base = world.load()
    base.adapters._capacity = 2
    paths = {name: world.path(seed) for seed, name in enumerate("abc", start=1)}
    first = base.adapters.load("a", paths["a"], ())

    def answer(name: str) -> list[int]:
        row = FakeRow(PROMPTS[0], 6, name)
        run(base, [row])
        return row.made

    expected = [world.expected(PROMPTS[0], 6, seed) for seed in (1, 2, 3)]
    assert answer(first) == expected[0]
    second = base.adapters.load("b", paths["b"], {first})
    assert answer(second) == expected[1]
    third = base.adapters.load("c", paths["c"], {second})  # "a" goes
    assert [answer(second), answer(third)] == expected[1:]
    assert answer(base.adapters.load("a", paths["a"], {third})) == expected[0]


def test_an_adapter_that_cannot_be_loaded_leaves_nothing(world: World, tmp_path: Path) -> None:
    """Whether it is the first one or not."""
    from arkor.backend.inference_worker.llama_engine.library import LlamaError

    base = world.load()
    broken = tmp_path / "broken"
    if world.engine == "transformers":
        broken.mkdir()
        (broken / "adapter_config.json").write_bytes((world.adapter(1) / "adapter_config.json").read_bytes())
        (broken / "adapter_model.safetensors").write_bytes(b"nothing")
    else:
        broken.write_bytes(b"nothing")
    plain = world.expected(PROMPTS[0], 6)
    for _ in range(2):
        with pytest.raises((Refusal, LlamaError), match=r"cannot be loaded|cannot load the adapter"):
            base.adapters.load("broken", str(broken), ())
        row = FakeRow(PROMPTS[0], 6)
        run(base, [row])
        assert row.made == plain
        base.adapters.load("good", world.path(2), ())


@pytest.mark.parametrize(("count", "start"), [(2, 1), (40, 1), (40, 39), (250, 100), (250, 240)])
def test_tokens_are_scored_as_at_once(world: World, count: int, start: int) -> None:
    """Wherever the pieces of a long text end, with an adapter, and beside an answer."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    from arkor.backend.inference_worker.scoring import Scoring

    ids = [100 + (7 * place) % 90 for place in range(count)]
    model = AutoModelForCausalLM.from_pretrained(world.folder, dtype=torch.float32)
    with torch.inference_mode():
        likely = torch.log_softmax(
            PeftModel.from_pretrained(model, str(world.adapter(1)))(torch.tensor([ids])).logits[0].double(), dim=-1
        )
    said: list[dict[str, Any]] = []
    base = world.load()
    adapter, batch, row = base.adapters.load("a", world.path(1), ()), base.new_batch(), FakeRow(PROMPTS[0], 20)
    batch.add(row)
    scoring = Scoring(lambda **fields: said.append(fields), base, adapter, ids, start, top=2)
    while not scoring.done:
        scoring.step()
        batch.turn(advance)
    (found,) = said
    assert found["scored"]["tokens"] == count - start
    assert found["scored"]["engine"] == world.engine
    expected = sum(float(likely[place - 1, ids[place]]) for place in range(start, count))
    assert found["scored"]["logprob"] == pytest.approx(expected, abs=2e-3 * count)
    for place, told in zip(range(start - 1, count - 1), found["scored"]["likeliest"], strict=True):
        assert told[0][1] == pytest.approx(float(likely[place].max()), abs=0.05)


def test_a_model_that_keeps_more_than_keys_and_values_answers(
    world: World, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """One with layers of convolution: as many answers at a time as the engine can, and texts that begin alike."""
    hybrid = World(world.engine, write_byte_model(tmp_path_factory.mktemp("hybrid") / "model", joinable=False))
    base = hybrid.load()
    prompts = [PROMPTS[4], [*PROMPTS[4][:64], 3, 4, 5], PROMPTS[0]]
    batch, rows = base.new_batch(), [FakeRow(prompt, 9) for prompt in prompts]
    for row in rows:
        while len(batch.rows) >= base.max_rows:
            batch.turn(advance)
        batch.add(row)
    while batch.rows:
        batch.turn(advance)
    assert [row.made for row in rows] == [hybrid.expected(prompt, 9) for prompt in prompts]


@pytest.mark.parametrize(("dtype", "tolerance"), [("bf16", 0.1), ("q8_0", 0.3)])
def test_fewer_bits_give_nearly_the_same(
    tmp_path_factory: pytest.TempPathFactory, dtype: str, tolerance: float
) -> None:
    """Not exactly, so they are fewer; each token of a text is about as likely as in float32."""
    from arkor.backend.inference_worker.scoring import Scoring

    world = World("llama.cpp", write_byte_model(tmp_path_factory.mktemp("bits") / "model"))
    ids = [100 + (7 * place) % 90 for place in range(120)]

    def logprob(dtype: str) -> float:
        said: list[dict[str, Any]] = []
        scoring = Scoring(lambda **fields: said.append(fields), world.load(dtype), None, ids, 1)
        while not scoring.done:
            scoring.step()
        assert said[0]["scored"]["dtype"] == dtype
        return float(said[0]["scored"]["logprob"]) / len(ids)

    difference = abs(logprob(dtype) - logprob("f32"))
    assert 0 < difference < tolerance


def test_memory_is_told_before_a_model_is_loaded(world: World) -> None:
    """About what it takes, from its files alone."""
    from arkor.backend.inference_worker.scheduler import Question, _needed_bytes

    gguf = gguf_of(world.folder) if world.engine == "llama.cpp" else None
    needed = _needed_bytes(Question(1, str(world.folder), None, None, gguf, dtype=None if gguf else "float32"))
    weights = (world.folder / "model.safetensors").stat().st_size
    assert 0.9 * weights < needed < 2.5 * weights


def test_an_engine_that_is_closed_can_be_loaded_again(world: World) -> None:
    """Its memory is given back, and the model answers as before."""
    answers = []
    for _ in range(3):
        base, row = world.load(), FakeRow(PROMPTS[0], 6)
        run(base, [row])
        base.close()
        answers.append(row.made)
    assert answers == [world.expected(PROMPTS[0], 6)] * 3


@pytest.mark.parametrize("broken", ["model", "adapter"])
def test_what_llama_cpp_cannot_load_transformers_answers(
    tmp_path_factory: pytest.TempPathFactory, tmp_path: Path, caplog: pytest.LogCaptureFixture, broken: str
) -> None:
    """At once, and it is not tried again; without the broken adapter llama.cpp goes on answering."""
    from arkor.backend.inference.request import read_completion
    from arkor.backend.inference_worker.scheduler import Question, Scheduler

    world = World("llama.cpp", write_byte_model(tmp_path_factory.mktemp("broken") / "model"))
    bad = tmp_path / "bad.gguf"
    bad.write_bytes(b"GGUF and nothing else")
    files = attrs.evolve(gguf_of(world.folder, adapter=world.adapter(1)), **{broken: str(bad)})
    said: list[dict[str, Any]] = []

    def say(**line: Any) -> None:
        said.append(line)
        if len([line for line in said if "done" in line]) == 3:
            scheduler.close()

    scheduler = Scheduler(say)
    request = read_completion({"prompt": "Once ", "temperature": 0, "maxTokens": 4})
    for number in range(2):
        scheduler.ask(Question(number, str(world.folder), ("a", str(world.adapter(1))), request, files))
    scheduler.ask(Question(2, str(world.folder), None, request, attrs.evolve(files, adapter=None)))
    scheduler.run()
    engines = {line["id"]: line["accepted"]["engine"] for line in said if "accepted" in line}
    assert engines == {0: "transformers", 1: "transformers", 2: "transformers" if broken == "model" else "llama.cpp"}
    assert len([record for record in caplog.records if "is answered by transformers" in record.getMessage()]) == 1


def test_llama_cpp_takes_the_place_of_transformers(tmp_path_factory: pytest.TempPathFactory) -> None:
    """The model is in memory once, as soon as nothing is answered by what answered until then."""
    from arkor.backend.inference.request import read_completion
    from arkor.backend.inference_worker.scheduler import Question, Scheduler

    world = World("transformers", write_byte_model(tmp_path_factory.mktemp("replaced") / "model"))
    folder, adapter = world.folder, ("a", world.path(1))  # with its hooks, the layers refer to each other
    files, engines = gguf_of(folder), []
    models: list[Any] = []
    request = read_completion({"prompt": "Once ", "temperature": 0, "maxTokens": 4})

    def say(**line: Any) -> None:
        if "accepted" in line:
            engines.append(line["accepted"]["engine"])
        if "done" in line and len(engines) == 1:
            models.extend(weakref.ref(lane.base.model.module) for lane in scheduler._lanes.values())  # type: ignore[attr-defined]
            scheduler.ask(Question(1, str(folder), None, request, files))
        elif "done" in line:
            scheduler.close()

    scheduler = Scheduler(say)
    scheduler.ask(Question(0, str(folder), adapter, request))
    gc.disable()  # only what is collected on purpose counts
    try:
        scheduler.run()
        left = [model() for model in models]
    finally:
        gc.enable()
    assert engines == ["transformers", "llama.cpp"]
    assert list(scheduler._lanes) == [(str(folder), None, files.model)]
    assert left == [None]

"""Examples that are kept for later jobs."""

from __future__ import annotations

import datetime
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import pytest

from arkor.backend.training_worker.examples import cache as example_cache
from arkor.backend.training_worker.examples.cache import ExampleCache, cache_key
from arkor.backend.training_worker.examples.data import Data, prepare_data
from arkor.backend.training_worker.limits.lengths import Lengths
from arkor.backend.training_worker.rows.spec import RowsSpec
from arkor.protocol.config import JobConfig
from arkor.system.folder_cache import FolderCache
from tests.support.characters import Tokenizer, plain

TODAY = datetime.date(2026, 1, 31)
ROWS = [{"prompt": f"q{number}", "completion": "a" * number, "id": number} for number in range(1, 9)]
SPLIT = {"evalFraction": 0.4}


class Fast(Tokenizer):
    """A tokenizer whose vocabulary can be compared."""

    def __init__(self, vocabulary: str = "characters") -> None:
        super().__init__(plain)
        self.chat_template = Template()
        self.special_tokens_map = {"eos_token": ">"}
        self.backend_tokenizer = SimpleNamespace(
            to_str=lambda: vocabulary, get_added_tokens_decoder=dict, encode_batch_fast=self._encoded
        )

    def _encoded(self, texts: list[str], add_special_tokens: bool) -> list[SimpleNamespace]:
        return [SimpleNamespace(ids=self(text, add_special_tokens=add_special_tokens)["input_ids"]) for text in texts]


class Template:
    """The plain template, which has the same text in each process."""

    def __call__(self, *arguments: Any, **options: Any) -> str:
        return plain(*arguments, **options)

    def __str__(self) -> str:
        return "plain"


def config(**settings: Any) -> JobConfig:
    """Return the settings of a job."""
    return JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64}, **settings)


def key(tokenizer: Any = None, most: Lengths | None = None, **settings: Any) -> str | None:
    """Return the key of examples."""
    return cache_key(config(**settings), ["1" * 64, None], tokenizer or Fast(), most or Lengths(), TODAY)


class Job:
    """A job on the rows of this test.

    Args:
        folder: of the test.
        name: the job's.
    """

    def __init__(self, folder: Path, name: str, most_bytes: int = 10**9) -> None:
        self._folder = folder / name
        self._folder.mkdir()
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in ROWS))
        self._cache = ExampleCache(FolderCache(folder / "cache", most_bytes), name)
        self._rows = folder / "rows.jsonl"
        self.phases: list[str] = []

    def prepare(self, **settings: Any) -> Data:
        """Prepare the rows."""
        spec = RowsSpec(config=config(dataset_split=SPLIT, **settings), dataset_path=self._rows, job_dir=self._folder)
        data = prepare_data(
            spec, Fast(), Lengths(), lambda phase, _done, _total: self.phases.append(phase), cache=self._cache
        )
        assert list(self._folder.iterdir()) == []
        return data


def plainly(data: Data) -> dict[str, Any]:
    """Return data to compare."""
    return {**attrs.asdict(data, recurse=False), "train": list(data.train), "eval": list(data.eval)}


def test_a_second_job_takes_the_examples_of_the_first(tmp_path: Path) -> None:
    """They are the same to the last figure, and no row is read."""
    first, second = Job(tmp_path, "job_1"), Job(tmp_path, "job_2")
    made, taken = first.prepare(), second.prepare(learning_rate=1.0)
    assert plainly(made) == plainly(taken)
    assert (len(made.train), len(made.eval), made.eval_rows) == (5, 3, 3)
    assert [len(row["input_ids"]) for row in made.eval] == sorted(
        (len(row["input_ids"]) for row in made.eval), reverse=True
    )
    assert set(first.phases) == {"reading", "tokenizing"}
    assert second.phases == []


@pytest.mark.parametrize("name", ["known.json", "train.arrow", "eval.arrow"])
@pytest.mark.parametrize("size", [0, 50, -8, None])
def test_examples_that_are_not_whole_are_made_again(tmp_path: Path, name: str, size: int | None) -> None:
    """A file that is cut, as after a power failure, or is not there."""
    made = plainly(Job(tmp_path, "job_1").prepare())
    (entry,) = (tmp_path / "cache").iterdir()
    file = entry / name
    file.unlink() if size is None else file.write_bytes(file.read_bytes()[:size])
    second = Job(tmp_path, "job_2")
    assert plainly(second.prepare()) == made
    assert "tokenizing" in second.phases
    third = Job(tmp_path, "job_3")
    assert plainly(third.prepare()) == made
    assert third.phases == []


def test_examples_that_are_too_large_to_be_kept_are_trained_on(tmp_path: Path) -> None:
    """The files are gone, and still open."""
    data = Job(tmp_path, "job_1", most_bytes=10).prepare()
    assert list((tmp_path / "cache").iterdir()) == []
    assert len(list(data.train)) == 5


@pytest.mark.parametrize(
    "settings",
    [
        {"max_length": 40},
        {"excess_length": "drop"},
        {"dataset_split": {"evalFraction": 0.5}},
        {"dataset_format": {"type": "text"}},
        {"train_on_responses_only": False},
        {"apply_chat_template": False},
        {"chat_template_kwargs": {"enable_thinking": False}},
        {"escape_special_tokens": True},
        {"allow_dropped_fields": ["tools"]},
        {"dry_run": True},
        {"most": Lengths(context=40)},
        {"tokenizer": Fast("other characters")},
    ],
    ids=lambda settings: next(iter(settings)),
)
def test_what_changes_the_examples_changes_the_key(settings: dict[str, Any]) -> None:
    """The same settings have the same key."""
    assert key() == key(learning_rate=1.0, seed=3)
    assert key(**settings) != key()


def test_other_rows_and_versions_have_another_key(monkeypatch: pytest.MonkeyPatch) -> None:
    """So do held-out rows."""
    keys = {
        cache_key(config(), contents, Fast(), Lengths(), TODAY) for contents in (["1", None], ["2", None], ["1", "2"])
    }
    assert len(keys) == 3
    before = key()
    monkeypatch.setattr(example_cache, "_version", lambda _: "9")
    assert key() != before


def test_a_template_that_tells_the_date_has_another_key_each_day() -> None:
    """Others do not."""
    for template, days in (("{{ strftime_now('%d') }}", 2), ("{{ messages }}", 1)):
        tokenizer = Fast()
        tokenizer.chat_template = template
        keys = {
            cache_key(config(), ["1"], tokenizer, Lengths(), TODAY + datetime.timedelta(days=day)) for day in range(2)
        }
        assert len(keys) == days


def test_a_tokenizer_that_cannot_be_compared_has_no_key(tmp_path: Path) -> None:
    """Its examples are made each time."""
    assert key(Tokenizer(plain)) is None

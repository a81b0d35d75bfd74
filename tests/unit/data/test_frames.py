"""Rows in memory, whatever hands them out."""

from __future__ import annotations

import contextlib
import datetime
import enum
import io
import sqlite3
from collections import OrderedDict
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import given, settings, strategies as st

from arkor.data.checked import CheckedDataset
from arkor.data.frames import dataset_from
from arkor.data.jsonl import read_rows
from arkor.errors import ConfigError, DatasetError

PLAIN: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]
CALL = {"function": {"name": "look_up", "arguments": "{}"}}
CALLING: list[dict[str, Any]] = [{"role": "user", "content": "hi"}, {"role": "assistant", "tool_calls": [CALL]}]


def content(dataset: CheckedDataset) -> bytes:
    """Return a data set's bytes."""
    return b"".join(dataset.chunks())


def rows(dataset: CheckedDataset) -> list[Any]:
    """Return a data set's rows, as a backend reads them."""
    return [row for _, row, _ in read_rows(io.BytesIO(content(dataset)))]


class Role(str, enum.Enum):
    """As people write constants."""

    USER = "user"


class PolarsFrame:
    """A DataFrame as polars has one, which the tests do not install."""

    def iter_rows(self, *, named: bool) -> Iterator[dict[str, Any]]:
        """Yield rows; structs have all keys."""
        assert named
        yield {"messages": [{**PLAIN[0], "tool_calls": None}, {**PLAIN[1], "tool_calls": None}], "n": None}
        yield {"messages": [{**CALLING[0], "tool_calls": None}, {**CALLING[1], "content": None}], "n": 3}


# Where rows may come from


@pytest.mark.parametrize(
    "given",
    [
        [{"text": "a"}, {"text": "b"}],
        ({"text": "a"}, {"text": "b"}),
        iter([{"text": "a"}, {"text": "b"}]),
        ({"text": text} for text in "ab"),
        [OrderedDict(text="a"), MappingProxyType({"text": "b", "n": None})],
        {"text a": {"text": "a"}, "text b": {"text": "b"}}.values(),
    ],
    ids=["list", "tuple", "iterator", "generator", "mappings of other types", "view"],
)
def test_any_iterable_of_mappings_is_a_data_set(given: Any) -> None:
    """The same rows give the same bytes and the same id, whatever hands them out."""
    dataset = dataset_from(given)
    assert content(dataset) == b'{"text":"a"}\n{"text":"b"}\n'
    assert dataset.id == dataset_from([{"text": "a"}, {"text": "b"}]).id
    assert (dataset.summary.rows, dataset.summary.format, dataset.summary.longest_row) == (2, "text", 1)


def test_rows_of_a_database_are_a_data_set() -> None:
    """Python's sqlite3 has rows that are no mappings, but nearly."""
    connection = sqlite3.connect(":memory:")
    connection.row_factory = sqlite3.Row
    dataset = dataset_from(connection.execute("SELECT 'a' AS prompt, 'b' AS completion, NULL AS more"))
    connection.close()
    assert rows(dataset) == [{"prompt": "a", "completion": "b"}]


def test_a_polars_frame_is_a_data_set() -> None:
    """A key of a struct that has no value is absent."""
    assert rows(dataset_from(PolarsFrame())) == [{"messages": PLAIN}, {"messages": CALLING}]


def test_a_pandas_frame_is_a_data_set() -> None:
    """Its texts are Python's, and each of its nulls is an absent key."""
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame(
        {
            "instruction": pandas.Series(["a", "b", "c"], dtype="string"),
            "input": pandas.Categorical(["x", None, "x"]),
            "output": ["d", "e", "f"],
        }
    )
    dataset = dataset_from(frame)
    assert rows(dataset) == [
        {"instruction": "a", "input": "x", "output": "d"},
        {"instruction": "b", "output": "e"},
        {"instruction": "c", "input": "x", "output": "f"},
    ]
    assert dataset.source == "dataset_from(DataFrame)"


class Unknown:
    """What JSON does not have."""


def test_columns_of_a_table_that_are_not_used_may_hold_anything(caplog: pytest.LogCaptureFixture) -> None:
    """They are named once, and left away; so nothing in them can refuse the table."""
    pandas, pyarrow, hub = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "datasets"))
    times = [pandas.Timestamp("2026-01-01"), pandas.NaT]
    frame = pandas.DataFrame(
        {"id": [1, 2], "text": ["a", "b"], "when": times, "ratio": [float("inf"), float("nan")], "raw": [b"x", b"y"]}
    )
    table = pyarrow.Table.from_pandas(frame)
    far = pyarrow.table({"text": ["a", "b"], "when": pyarrow.array([2**62, 1], pyarrow.timestamp("s"))})
    for one, left in (
        (frame, "id, when, ratio, raw"),
        (frame.assign(when=[Unknown(), Unknown()]), "id, when, ratio, raw"),
        (table, "id, when, ratio, raw"),
        (table.to_batches()[0], "id, when, ratio, raw"),
        (hub.Dataset(table), "id, when, ratio, raw"),
        (hub.Dataset(table).to_iterable_dataset(), "id, when, ratio, raw"),
        (far, "when"),
    ):
        caplog.clear()
        dataset = dataset_from(one)
        assert rows(dataset) == [{"text": "a"}, {"text": "b"}]
        (record,) = caplog.records
        assert record.getMessage() == f"{dataset.source}: left away, as the format has no such columns: {left}"


def test_media_are_not_decoded(caplog: pytest.LogCaptureFixture) -> None:
    """Hugging Face opens what such a column names when a row is read."""
    hub = pytest.importorskip("datasets")
    features = hub.Features({"text": hub.Value("string"), "picture": hub.Image(), "sounds": hub.List(hub.Audio())})
    rowset = hub.Dataset.from_dict({"text": ["a"], "picture": [None], "sounds": [None]}, features=features)
    dataset = dataset_from(rowset)
    assert rows(dataset) == [{"text": "a"}]
    (record,) = caplog.records
    assert record.getMessage() == "dataset_from(Dataset): left away, as the format has no such columns: picture, sounds"


def test_keys_that_are_not_used_may_hold_anything(caplog: pytest.LogCaptureFixture) -> None:
    """Rows that are no table keep those that JSON can hold: the receipt names them."""
    itself: dict[str, Any] = {}
    itself["more"] = itself
    unfit = [datetime.date(2026, 1, 1), [1, {"b": Decimal(1)}], {1, 2}, float("inf"), [float("nan")], itself, {3: 1}]
    given = [{"text": "a", "id": number, "more": value} for number, value in enumerate(unfit)]
    assert rows(dataset_from(given)) == [{"text": "a", "id": number} for number in range(len(unfit))]
    (record,) = caplog.records
    assert record.getMessage() == "dataset_from(list): left away, as the format has no such columns: more"


def test_columns_have_new_names(caplog: pytest.LogCaptureFixture) -> None:
    """Those that are given, or common ones, which is said once."""
    pandas = pytest.importorskip("pandas")
    given = [{"frage": "a", "antwort": "b"}, {"frage": "c", "antwort": "d"}]
    columns = {"frage": "prompt", "antwort": "completion"}
    expected = [{"prompt": "a", "completion": "b"}, {"prompt": "c", "completion": "d"}]
    for one in (given, pandas.DataFrame(given)):
        assert rows(dataset_from(one, columns=columns)) == expected
    assert not caplog.records
    common = pandas.DataFrame(given).rename(columns={"frage": "question", "antwort": "answer"})
    assert rows(dataset_from(common)) == expected
    (record,) = caplog.records
    assert "columns are taken as follows: question as prompt, answer as completion" in record.getMessage()
    with pytest.raises(DatasetError, match=r'pass columns=\{"frage": "prompt", "antwort": "completion"\}'):
        dataset_from(given)
    with pytest.raises(
        DatasetError, match=r"has no column reply, so columns= cannot be done \(its columns: frage, antwort"
    ):
        dataset_from(pandas.DataFrame(given), columns={"reply": "completion"})
    with pytest.raises(ConfigError, match="belongs to no format"):
        dataset_from(given, columns={"frage": "q"})


def test_conversations_are_the_same_from_every_table(tmp_path: Path) -> None:
    """In a table all structs have all keys; from each the same bytes come as from a list."""
    pandas, pyarrow, hub = (pytest.importorskip(name) for name in ("pandas", "pyarrow", "datasets"))
    expected = dataset_from([{"messages": PLAIN}, {"messages": CALLING}])
    table = pyarrow.Table.from_pylist([{"messages": PLAIN}, {"messages": CALLING}])
    pandas.DataFrame({"messages": [PLAIN, CALLING]}).to_parquet(tmp_path / "rows.parquet")
    for one in (
        table,
        table.to_batches()[0],
        pandas.DataFrame({"messages": [PLAIN, CALLING]}),
        pandas.read_parquet(tmp_path / "rows.parquet"),
        pandas.read_parquet(tmp_path / "rows.parquet", dtype_backend="pyarrow"),
        hub.Dataset(table),
        hub.Dataset(table).to_iterable_dataset(),
    ):
        assert dataset_from(one).id == expected.id, type(one)


def test_a_table_of_many_rows_is_read_in_slices() -> None:
    """In order, and to its end."""
    pyarrow = pytest.importorskip("pyarrow")
    texts = [str(number) for number in range(1_001)]
    table = pyarrow.concat_tables([pyarrow.table({"text": texts[:7]}), pyarrow.table({"text": texts[7:]})])
    assert [row["text"] for row in rows(dataset_from(table))] == texts


def test_numbers_and_arrays_of_numpy_are_pythons() -> None:
    """Wherever in a row they are."""
    numpy = pytest.importorskip("numpy")
    row: dict[str, Any] = {
        "text": numpy.str_("a"),
        "int": numpy.int64(3),
        "float": numpy.float32(0.5),
        "bool": numpy.bool_(True),
        "array": numpy.array([[1, 2], [3, 4]]),
        "inside": {"b": [numpy.uint8(7)]},
        "nothing": numpy.float32("nan"),
    }
    expected = {
        "text": "a",
        "int": 3,
        "float": 0.5,
        "bool": True,
        "array": [[1, 2], [3, 4]],
        "inside": {"b": [7]},
    }
    assert rows(dataset_from([row])) == [expected]
    assert content(dataset_from([row])) == content(dataset_from([expected]))


# What becomes of a row


def test_a_cell_without_a_value_is_an_absent_key() -> None:
    """None and NaN; inside of a row, a null that was written stays."""
    arguments = {"unit": None}
    calling = [{**CALLING[1], "tool_calls": [{"function": {"name": "look_up", "arguments": arguments}}]}]
    (row,) = rows(dataset_from([{"messages": calling, "a": None, "b": float("nan"), "c": 0, "d": "", "e": False}]))
    assert row == {"messages": calling, "c": 0, "d": "", "e": False}


def test_texts_that_are_also_something_else_are_texts() -> None:
    """An enumeration's member is what it stands for."""
    (row,) = rows(dataset_from([{"messages": [{"role": Role.USER, "content": "hi"}, PLAIN[1]]}]))
    assert row == {"messages": PLAIN}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"text": ""}, "text must not be empty"),
        ({"text": None}, "text: has no value (null or NaN)"),
        ({"text": float("nan")}, "text: has no value (null or NaN)"),
        ({"text": float("-inf")}, "text: is -inf, a number that JSON does not have"),
        ({"text": [float("nan")]}, "text[0]: is nan, a number that JSON does not have"),
        ({"text": {"a": [{"b": float("inf")}]}}, "text.a[0].b: is inf, a number that JSON does not have"),
        ({"text": "\ud83d"}, "holds half a character (a lone surrogate)"),
        ({"text": "a", "\udfff": 1}, "holds half a character (a lone surrogate)"),
        ("text", "is of type str, not a mapping"),
        (None, "is of type NoneType, not a mapping"),
        (["text"], "is of type list, not a mapping"),
        ({3: "a"}, "has the key 3, which is no text"),
        ({"text": [{"b": {None: 1}}]}, "text[0].b: has the key None, which is no text"),
        ({"text": b"a"}, "text: is of type bytes, which JSON does not have: leave it out, or make it a text"),
        ({"text": datetime.date(2026, 1, 1)}, "text: is of type date, which JSON does not have"),
        ({"text": [1, {"b": Decimal(1)}]}, "text[1].b: is of type Decimal, which JSON does not have"),
        ({"text": {1, 2}}, "text: is of type set, which JSON does not have"),
        ({"text": "a", "more": 10**5000}, "holds a number that JSON cannot hold: "),
    ],
)
def test_a_bad_row_is_listed_with_its_number(row: Any, reason: str) -> None:
    """Counted from 1, with what is wrong and where in the row."""
    with pytest.raises(DatasetError) as raised:
        dataset_from([{"text": "good"}, row, {"text": "good"}])
    ((number, said),) = raised.value.problems
    assert number == 2
    assert said.startswith(reason)
    assert str(raised.value).startswith("dataset_from(list): 1 row cannot be trained on\n  row 2: ")


def test_a_row_that_contains_itself_is_listed() -> None:
    """Not a crash."""
    row: dict[str, Any] = {}
    row["text"] = [row]
    with pytest.raises(DatasetError, match="row 1: is nested too deeply"):
        dataset_from([row])


def test_what_numpy_alone_has_is_listed() -> None:
    """Its dates and its long numbers."""
    numpy = pytest.importorskip("numpy")
    with pytest.raises(DatasetError) as raised:
        dataset_from([{"text": numpy.datetime64("2026-01-01")}, {"text": numpy.longdouble(1)}])
    assert [reason.partition(",")[0] for _, reason in raised.value.problems] == [
        "text: is of type date",
        "text: is of type longdouble",
    ]


@pytest.mark.parametrize("given", [[], iter(())])
def test_no_rows_are_no_data_set(given: Any) -> None:
    """There is nothing to train on."""
    with pytest.raises(DatasetError, match="has no rows"):
        dataset_from(given)


class Lazy:
    """A table that is not computed yet."""

    def collect(self) -> None:
        """Compute it."""


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("rows.jsonl", "must be rows; for the file of a path, train on LocalDataset(path)"),
        (b"{}", "must be rows; for the file"),
        (Path("rows.jsonl"), "must be rows; for the file"),
        ({"text": "a"}, "must be several mappings, one a row, not one; of a DatasetDict name the split"),
        (3, "must be a DataFrame, a Table, a Dataset or an iterable of mappings, not int"),
        (None, "not NoneType"),
        (Lazy(), "are not computed yet: pass what their collect() returns"),
    ],
)
def test_what_has_no_rows_is_refused(given: Any, says: str) -> None:
    """With what to give instead."""
    with pytest.raises(ConfigError) as raised:
        dataset_from(given)
    assert raised.value.field == "rows"
    assert says in str(raised.value)


def test_a_table_with_two_columns_of_one_name_is_refused() -> None:
    """One of them would be lost."""
    pandas, pyarrow = pytest.importorskip("pandas"), pytest.importorskip("pyarrow")
    for one in (
        pandas.DataFrame([["a", "b"]], columns=["text", "text"]),
        pyarrow.table([["a"], ["b"]], names=["text", "text"]),
    ):
        with pytest.raises(ConfigError, match="has two columns that are named 'text'"):
            dataset_from(one)


VALUES = st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
ROWS = st.lists(
    st.dictionaries(
        st.text(max_size=3),
        st.recursive(VALUES, st.lists, max_leaves=4),
        max_size=3,
    ),
    min_size=1,
    max_size=4,
)


@settings(max_examples=40)
@given(ROWS)
def test_what_goes_in_is_what_a_backend_reads(given: list[dict[str, Any]]) -> None:
    """Value for value, key for key in their order; or the rows are told that cannot be sent."""
    given = [{"text": "a", **row, "messages": PLAIN} for row in given]
    with contextlib.suppress(DatasetError):
        read = rows(dataset_from(given))
        assert read == given
        assert [list(row) for row in read] == [list(row) for row in given]


def test_rows_that_raise_are_the_callers_own_affair() -> None:
    """The exception is not wrapped."""

    def make() -> Iterator[dict[str, str]]:
        yield {"text": "a"}
        raise KeyError("mine")

    with pytest.raises(KeyError, match="mine"):
        dataset_from(make())

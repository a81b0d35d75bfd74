"""Asking a backend how a model sees rows: what is sent, what is read, and when it ends."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest

import arkor
from arkor.client.client import CloudApiClient
from arkor.errors import (
    Aborted,
    ConfigError,
    Conflict,
    ConnectionFailed,
    DatasetError,
    ServerError,
    UnknownOption,
    UnsupportedByBackend,
    WaitTimeout,
)
from arkor.protocol.config import SETTINGS, JobConfig
from arkor.protocol.jobs import Scope
from arkor.protocol.previews import Example, RowPreview, TokenSummary
from tests.support.cloud import Cloud
from tests.support.contract import Answer
from tests.support.eventually import eventually

PREVIEWS = "/v1/previews"
SUMMARY = TokenSummary(format="text", p50=3, p90=3, p99=3, longest=3)
ROW = RowPreview(row=2, format="text", examples=(Example(),), max_length=3)


@pytest.fixture
def able(routed_cloud: Cloud) -> Cloud:
    """A backend that takes rows and shows them."""
    routed_cloud.answer("GET", "/v1/capabilities", *[Answer(body={"features": ["datasets", "previews"]})] * 3)
    routed_cloud.answer("GET", "/v1/datasets/*", *[Answer(body={"dataset": {}})] * 3)
    return routed_cloud


@pytest.fixture
def rows() -> arkor.CheckedDataset:
    return arkor.dataset_from([{"text": "a"}, {"text": "b"}])


def says(cloud: Cloud, body: Any, **how: Any) -> None:
    """Let the next preview be this, after two signs of life."""
    cloud.answer("POST", PREVIEWS, Answer(body=b"\n\n" + json.dumps(body).encode(), **how))


def test_rows_are_sent_and_summed_up(able: Cloud, rows: arkor.CheckedDataset) -> None:
    """With the settings that concern rows, in the wire's names."""
    says(able, {"summary": SUMMARY.to_wire()})
    split = {"eval_fraction": 0.5}
    assert rows.check(model="m", dataset_format="text", dataset_split=split, max_length=9) == SUMMARY
    assert able.calls("POST", PREVIEWS)[-1].json() == {
        "config": {
            "model": "m",
            "datasetSource": {"type": "dataset", "id": rows.id},
            "datasetFormat": {"type": "text"},
            "datasetSplit": {"evalFraction": 0.5},
            "maxLength": 9,
        }
    }


@pytest.mark.parametrize(("row", "sent"), [(None, 0), (2, 2)])
def test_a_row_is_shown(able: Cloud, row: int | None, sent: int) -> None:
    """Of rows that the backend fetches, too; without a number it is the first one."""
    says(able, {"preview": ROW.to_wire()})
    dataset = arkor.HuggingFaceDataset("owner/rows", split="test")
    assert dataset.preview(row, model="m") == ROW
    asked = able.calls("POST", PREVIEWS)[-1].json()
    assert asked["row"] == sent
    assert asked["config"]["datasetSource"] == {"type": "huggingface", "name": "owner/rows", "split": "test"}


def test_without_a_model_nobody_is_asked(cloud: Cloud, rows: arkor.CheckedDataset) -> None:
    """The summary is made here, and settings that need a tokenizer are refused."""
    assert rows.check().rows == 2
    for dataset in (rows, arkor.LocalDataset("rows.jsonl")):
        with pytest.raises(ConfigError, match="max_length: needs a model"):
            dataset.check(max_length=9)  # type: ignore[call-overload]


def test_wrong_options_are_refused_before_anything_is_sent(able: Cloud, rows: arkor.CheckedDataset) -> None:
    """By their names."""
    before = len(able.requests)
    with pytest.raises(UnknownOption, match="did you mean max_length"):
        rows.check(model="m", max_lenght=9)  # type: ignore[call-overload]
    with pytest.raises(ConfigError, match="max_length: must be a whole number, 8 to"):
        rows.check(model="m", max_length=3)
    assert len(able.requests) == before


def test_a_backend_that_shows_no_rows_is_told_of(routed_cloud: Cloud, rows: arkor.CheckedDataset) -> None:
    """Before any row is sent."""
    with pytest.raises(UnsupportedByBackend, match="does not support showing rows as a model sees them") as caught:
        rows.check(model="m")
    assert caught.value.capability == "previews"
    assert routed_cloud.calls("PUT", "/v1/datasets/*") == []


def test_bad_rows_have_the_name_that_the_user_gave(able: Cloud, rows: arkor.CheckedDataset) -> None:
    """Rows that the backend fetches have its own."""
    refusal = {"status": 422, "error": "bad", "source": "there", "rows": [{"row": 2, "reason": "why"}]}
    for dataset, name in ((rows, "dataset_from(list)"), (arkor.BlobDataset("https://example.com/x"), "there")):
        says(able, refusal)
        with pytest.raises(DatasetError) as caught:
            dataset.preview(2, model="m")
        assert (caught.value.source, caught.value.problems) == (name, ((2, "why"),))


def test_bad_rows_of_several_files_name_their_file(able: Cloud, tmp_path: Path) -> None:
    """A backend knows their numbers among all."""
    (tmp_path / "a.csv").write_text("text\na\n")
    (tmp_path / "b.jsonl").write_text('{"text": "b"}\n{"text": "c"}\n')
    says(able, {"status": 422, "error": "bad", "source": "there", "rows": [{"row": 4, "reason": "why"}]})
    with pytest.raises(DatasetError) as caught:
        arkor.LocalDataset(["a.csv", "b.jsonl"]).check(model="m", project_dir=tmp_path)
    assert str(caught.value) == "a.csv, b.jsonl: bad\n  row 4: b.jsonl, row 2: why"


def test_a_search_is_refused_where_the_backend_would_pass_over_it(able: Cloud) -> None:
    """It would answer with something else."""
    client, scope = CloudApiClient.connect(), Scope("org", "project")
    config = JobConfig(model="m", dataset_source={"type": "dataset", "id": "0" * 64})
    for question in ({"search": {"text": "a"}}, {"row": 1, "isHeldOut": True}):
        with pytest.raises(UnsupportedByBackend, match="does not support searching rows") as caught:
            client.open_preview(scope, config, question)
        assert caught.value.capability == "row-search"
    assert able.calls("POST", PREVIEWS) == []
    client.close()


def test_columns_are_refused_where_the_backend_would_pass_over_them(able: Cloud) -> None:
    """Before anything is sent."""
    with pytest.raises(UnsupportedByBackend, match="does not support columns of a data set"):
        arkor.BlobDataset("https://example.com/x", columns={"q": "text"}).check(model="m")
    assert able.calls("POST", PREVIEWS) == []


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (Answer(body=b'\n{"status": 500, "error": "it died"}'), ServerError, "it died"),
        (Answer(body=b"\n\n"), ConnectionFailed, "was cut before it was whole"),
        (Answer(status=409, body={"error": "run `arkor models pull m`"}), Conflict, "arkor models pull m"),
    ],
    ids=["late", "cut", "refused"],
)
def test_what_goes_wrong_is_an_error(
    able: Cloud, rows: arkor.CheckedDataset, answer: Answer, error: type[Exception], says: str
) -> None:
    """Whether it shows in the status or in the body."""
    able.answer("POST", PREVIEWS, answer)
    with pytest.raises(error, match=says):
        rows.check(model="m")


@pytest.fixture
def silent(able: Cloud) -> Cloud:
    """A backend that never answers."""
    gate = threading.Event()
    able.answer("POST", PREVIEWS, Answer(gate=gate))
    able._gates.append(gate)
    return able


def test_a_timeout_ends_the_call(silent: Cloud, rows: arkor.CheckedDataset) -> None:
    """Also while the backend says nothing."""
    with pytest.raises(WaitTimeout):
        rows.check(model="m", timeout=0.5)


def test_an_abort_event_ends_the_call(silent: Cloud, rows: arkor.CheckedDataset) -> None:
    """From another thread, while the backend works."""
    abort = threading.Event()
    ended: list[Exception] = []

    def ask() -> None:
        try:
            rows.preview(model="m", abort_event=abort)
        except Aborted as exc:
            ended.append(exc)

    thread = threading.Thread(target=ask)
    thread.start()
    eventually(lambda: silent.calls("POST", PREVIEWS), "the backend is asked")
    abort.set()
    thread.join(5.0)
    assert len(ended) == 1


def test_a_client_can_be_passed_in(able: Cloud, rows: arkor.CheckedDataset) -> None:
    """It stays open."""
    client = CloudApiClient.connect()
    for _ in range(2):
        says(able, {"summary": SUMMARY.to_wire()})
        assert rows.check(model="m", client=client) == SUMMARY
    client.close()


def test_the_options_are_the_settings_of_the_table() -> None:
    """Each setting of a job that concerns rows, and which backend, and until when."""
    of_rows = {name for name, setting in SETTINGS.items() if setting.of_rows}
    others = {"client", "backend", "project_dir", "timeout", "abort_event"}
    assert set(arkor.PreviewOptions.__annotations__) == of_rows | others
    assert {"max_length", "chat_template_kwargs", "dataset_split"} <= of_rows

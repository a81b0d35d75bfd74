"""Adapters of others, on this machine or on the hub: which files are taken, and what is said of a missing one."""

from __future__ import annotations

import hashlib
import io
import json
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from arkor.client.adapter_source import AdapterArchive, AdapterSource, find_adapter
from arkor.errors import Aborted, ConfigError, ModelError, WaitTimeout
from arkor.http.abort import AbortScope, Deadline
from tests.support.hub import COMMIT, TOKEN, Hub

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"


@pytest.fixture
def limits() -> Iterator[AbortScope]:
    """No limits."""
    with AbortScope(None) as scope:
        yield scope


def write(folder: Path, **others: bytes) -> Path:
    """Write an adapter's files, and return their folder."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / CONFIG).write_text(json.dumps({"base_model_name_or_path": "owner/base"}))
    (folder / WEIGHTS).write_bytes(b"weights")
    for name, content in others.items():
        (folder / name).write_bytes(content)
    return folder


def test_a_folder_is_found_with_its_base_model(tmp_path: Path, limits: AbortScope) -> None:
    """By a relative path from the project's folder; it is called as the folder."""
    folder = write(tmp_path / "out" / "my-lora")
    for source in (folder, str(folder), "out/my-lora"):
        found = find_adapter(source, None, tmp_path, limits)
        assert (found.name, found.job_name, found.base, found.revision) == ("my-lora", "my-lora", "owner/base", None)


def test_only_the_two_files_are_packed(tmp_path: Path, limits: AbortScope) -> None:
    """Into the same bytes each time, without anything of this machine; it can be sent again."""
    source = find_adapter(write(tmp_path / "my-lora", secret=b"x"), None, tmp_path, limits)
    archives = [AdapterArchive(io.BytesIO(), source) for _ in range(2)]
    sent, again = (b"".join(archives[0]) for _ in range(2))
    assert sent == again == b"".join(archives[1])
    assert (hashlib.sha256(sent).hexdigest(), len(sent)) == (archives[0].sha256, len(archives[0]))
    with tarfile.open(fileobj=io.BytesIO(sent)) as tar:
        assert [(member.name, member.mtime, member.uname) for member in tar] == [(CONFIG, 0, ""), (WEIGHTS, 0, "")]


@pytest.mark.parametrize(
    ("missing", "says"),
    [
        (CONFIG, r"my-lora has no adapter_config\.json: name a folder that save_pretrained of PEFT has written"),
        (WEIGHTS, r"my-lora has no adapter_model\.safetensors"),
    ],
)
def test_a_missing_file_is_named(tmp_path: Path, limits: AbortScope, missing: str, says: str) -> None:
    """Before anything is sent."""
    folder = write(tmp_path / "my-lora")
    (folder / missing).unlink()
    with pytest.raises(ModelError, match=says):
        find_adapter(folder, None, tmp_path, limits)


def test_a_pickle_is_refused_with_the_way_out(tmp_path: Path, limits: AbortScope) -> None:
    """It is never opened."""
    folder = write(tmp_path / "my-lora")
    (folder / WEIGHTS).rename(folder / "adapter_model.bin")
    with pytest.raises(ModelError, match=r"a pickle, .* Make adapter_model\.safetensors of it with safetensors\.torch"):
        find_adapter(folder, None, tmp_path, limits)


@pytest.mark.parametrize("content", [b"", b"{", b"\xff"])
def test_a_configuration_that_is_no_json_is_refused(tmp_path: Path, limits: AbortScope, content: bytes) -> None:
    """By the name of the file."""
    with pytest.raises(ModelError, match=r"adapter_config\.json of my-lora cannot be read"):
        find_adapter(write(tmp_path / "my-lora", **{CONFIG: content}), None, tmp_path, limits)


@pytest.mark.parametrize("source", ["nowhere", "/nowhere/at/all", "a/b/c", "owner/na me", Path("owner/name"), "."])
def test_neither_a_folder_nor_a_name_is_refused(tmp_path: Path, limits: AbortScope, source: str | Path) -> None:
    """An empty folder lacks the files."""
    with pytest.raises((ConfigError, ModelError), match=r"neither a folder nor owner/name|has no adapter_config\.json"):
        find_adapter(source, None, tmp_path, limits)


def test_a_folder_has_no_revision(tmp_path: Path, limits: AbortScope) -> None:
    """That is for the hub."""
    with pytest.raises(ConfigError, match=r"revision: is for the Hugging Face hub"):
        find_adapter(write(tmp_path / "my-lora"), "main", tmp_path, limits)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """A hub with an adapter, which this process's environment names, with a token."""
    with Hub() as hub:
        hub.files["owner/my-lora", CONFIG] = json.dumps({"base_model_name_or_path": "owner/base"}).encode()
        hub.files["owner/my-lora", WEIGHTS] = b"weights"
        hub.files["owner/my-lora", "training.log"] = b"a log"
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_TOKEN", TOKEN)
        yield hub


def test_the_two_files_are_fetched_from_the_hub(tmp_path: Path, hub: Hub, limits: AbortScope) -> None:
    """Both of the same commit, and no others."""
    found = find_adapter("owner/my-lora", "main", tmp_path, limits)
    assert set(hub.fetched) == {f"{CONFIG}@main", f"{WEIGHTS}@{COMMIT}"}
    assert (found.name, found.job_name, found.revision) == ("owner/my-lora", "my-lora", COMMIT)
    assert (found.base, (found.folder / WEIGHTS).read_bytes()) == ("owner/base", b"weights")


@pytest.mark.parametrize(
    ("pickle", "says"),
    [(True, r"owner/my-lora has adapter_model\.bin, a pickle"), (False, r"owner/my-lora has no adapter_model\.safe")],
)
def test_what_the_hub_does_not_have_is_said(
    tmp_path: Path, hub: Hub, limits: AbortScope, pickle: bool, says: str
) -> None:
    """With what to do."""
    del hub.files["owner/my-lora", WEIGHTS]
    if pickle:
        hub.files["owner/my-lora", "adapter_model.bin"] = b"pickle"
    with pytest.raises(ModelError, match=says):
        find_adapter("owner/my-lora", None, tmp_path, limits)


@pytest.mark.parametrize(
    ("name", "setting", "says"),
    [
        (
            "owner/other",
            {},
            r"owner/other cannot be fetched\. The Hugging Face hub refuses it: 404 .* Check the name and",
        ),
        ("owner/my-lora", {"HF_TOKEN": "hf_other"}, "The Hugging Face hub refuses it: 401 "),
        ("owner/my-lora", {"HF_ENDPOINT": "http://127.0.0.1:9"}, r"cannot be reached at http://127\.0\.0\.1:9"),
    ],
    ids=["no such repository", "another token", "no network"],
)
def test_a_hub_that_does_not_hand_it_out_is_told(
    tmp_path: Path,
    hub: Hub,
    limits: AbortScope,
    monkeypatch: pytest.MonkeyPatch,
    name: str,
    setting: dict[str, str],
    says: str,
) -> None:
    """With what to check; the token is in no text."""
    for key, value in setting.items():
        monkeypatch.setenv(key, value)
    with pytest.raises(ModelError, match=says) as caught:
        find_adapter(name, None, tmp_path, limits)
    assert not [token for token in (TOKEN, "hf_other") if token in str(caught.value)]


def test_without_the_package_the_extra_is_named(
    tmp_path: Path, limits: AbortScope, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A folder needs no package."""
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ModelError, match=r"needs the package huggingface_hub: pip install huggingface_hub"):
        find_adapter("owner/my-lora", None, tmp_path, limits)
    assert find_adapter(write(tmp_path / "my-lora"), None, tmp_path, limits).name == "my-lora"


@pytest.mark.parametrize("ending", ["abort", "timeout"])
def test_fetching_ends_at_once(tmp_path: Path, hub: Hub, ending: str) -> None:
    """With the abort event, or the deadline."""
    hub.held, event = threading.Event(), threading.Event()
    with AbortScope(event, Deadline(0.05 if ending == "timeout" else None)) as limits:
        if ending == "abort":
            event.set()
        with pytest.raises(Aborted if ending == "abort" else WaitTimeout):
            find_adapter("owner/my-lora", None, tmp_path, limits)


def test_a_source_without_a_last_part_has_a_name() -> None:
    """A job needs one."""
    assert AdapterSource(folder=Path("/"), name="/").job_name == "adapter"

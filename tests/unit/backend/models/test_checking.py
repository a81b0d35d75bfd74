"""Whether a model can be trained here, and what a name stands for; no network, no torch."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from arkor.backend import models
from arkor.backend.models import checking, hardware
from arkor.backend.models.catalogue import CATALOGUE, models_dir
from arkor.backend.models.weights import count_parameters
from arkor.errors import ModelError
from arkor.protocol.config import JobConfig
from tests.unit.backend.models.test_sizes import LLAMA

GIB = 2**30
ROOT = Path("/")


def config(**fields: Any) -> JobConfig:
    return JobConfig.from_wire({"model": "m", "datasetSource": {"type": "dataset", "id": "0"}, **fields})


def make_model(folder: Path, parameters: int = 10) -> Path:
    folder.mkdir(parents=True)
    (folder / "config.json").write_text("{}")
    header = json.dumps({"w": {"dtype": "BF16", "shape": [parameters], "data_offsets": [0, 0]}, "__metadata__": {}})
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    return folder


@pytest.fixture(autouse=True)
def _a_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hardware, "has_cuda", lambda: False)
    monkeypatch.setattr(hardware, "available_bytes", lambda: 8 * GIB)


def test_the_catalogue_is_listed_before_it_is_there() -> None:
    """And other models that are ready; hidden and unfinished folders are not."""
    hub_id = "HuggingFaceTB/SmolLM2-135M-Instruct"
    assert models.listing() == [{"id": "smollm2-135m", "ready": False, "hubId": hub_id}]
    make_model(models_dir() / "mine")
    make_model(models_dir() / ".smollm2-135m.work-x")
    (models_dir() / "empty").mkdir()
    listed = models.listing()
    assert [(item["id"], item["ready"]) for item in listed] == [("mine", True), ("smollm2-135m", False)]
    assert listed[0]["sizeBytes"] > 0
    make_model(models_dir() / "smollm2-135m")
    assert models.listing()[1]["ready"]


def test_a_name_stands_for_a_folder_or_a_hub_id(tmp_path: Path) -> None:
    """A folder of the collection, an absolute path, ``~``, else the hub; a folder that lies about does not count."""
    ready = make_model(models_dir() / "smollm2-135m")
    mine = make_model(models_dir() / "mine")
    make_model(Path.cwd() / "owner" / "name")
    assert models.resolve("smollm2-135m", ROOT) == str(ready)
    assert models.resolve("mine", ROOT) == str(mine)
    assert models.resolve(str(tmp_path), ROOT) == str(tmp_path)
    assert models.resolve("~/x", ROOT) == str(Path.home() / "x")
    assert models.resolve("owner/name", ROOT) == "owner/name"


NOT_A_ROOT = "this backend accepts no model folders"


def test_a_folder_has_to_lie_below_the_root_once_links_are_resolved(tmp_path: Path) -> None:
    """Before it is looked at: the answer is the same for a folder that is there and one that is not."""
    root, outside = tmp_path / "models", make_model(tmp_path / "models-of-others" / "m")
    inside = make_model(root / "m")
    (root / "link").symlink_to(outside)
    (root / "circle").symlink_to(root / "circle")
    models.check(str(inside), config(), root)
    assert models.resolve(str(inside), root) == str(inside)
    for place in (outside, root / "link", root / ".." / "models-of-others" / "m", tmp_path / "nowhere"):
        with pytest.raises(ModelError, match=r"is not below .*/models, the backend's --model-root"):
            models.check(str(place), config(), root)
        with pytest.raises(ModelError, match=r"is not below"):
            models.resolve(str(place), root)
    for name in ("~/x", "~nosuchuser/x", str(root / "m\0"), str(root / "circle" / "x")):
        with pytest.raises(ModelError):
            models.check(name, config(), root)


def test_without_a_root_no_folder_is_accepted(tmp_path: Path) -> None:
    """The models of the catalogue and of the collection are, and those of the hub."""
    mine = make_model(models_dir() / "mine")
    models.check("mine", config(), None)
    models.check("smollm2-135m", config(), None)
    assert models.resolve("owner/name", None) == "owner/name"
    for name in (str(mine), str(tmp_path), "~/x", "~nosuchuser/x", "/"):
        with pytest.raises(ModelError, match=NOT_A_ROOT):
            models.check(name, config(), None)
        with pytest.raises(ModelError, match=NOT_A_ROOT):
            models.resolve(name, None)


def test_models_that_are_there_and_fit_pass(tmp_path: Path) -> None:
    """A catalogue model need not be pulled yet."""
    models.check("smollm2-135m", config(), ROOT)
    models.check(str(make_model(tmp_path / "model")), config(), ROOT)


@pytest.mark.parametrize("name", ["no-such-model", "../x", "a/b/c", "", "owner/na me"])
def test_a_name_that_means_nothing_is_refused(name: str) -> None:
    """Without asking the hub."""
    with pytest.raises(ModelError, match="There is no model"):
        models.check(name, config(), ROOT)


def test_a_misspelt_name_is_answered_with_the_nearest_one() -> None:
    """Of those that the backend fetches by name."""
    with pytest.raises(ModelError, match=r"There is no model 'smolm2-135m': did you mean smollm2-135m\?"):
        models.check("smolm2-135m", config(), ROOT)


def test_a_folder_without_a_model_is_refused(tmp_path: Path) -> None:
    """As is one that does not exist."""
    with pytest.raises(ModelError, match="does not exist"):
        models.check(str(tmp_path / "nowhere"), config(), ROOT)
    with pytest.raises(ModelError, match=r"no config\.json"):
        models.check(str(tmp_path), config(), ROOT)


@pytest.mark.parametrize("name", ["x.safetensors", "tokenizer.json", "additional_chat_templates/a.jinja"])
def test_a_folder_with_a_pipe_or_a_device_in_it_is_refused(tmp_path: Path, name: str) -> None:
    """Who opens a pipe waits for its other end. A link that leads nowhere does no harm."""
    for special in ("pipe", "device"):
        strange = make_model(tmp_path / special) / name
        strange.parent.mkdir(exist_ok=True)
        if special == "pipe":
            os.mkfifo(strange)
        else:
            strange.symlink_to("/dev/zero")
        with pytest.raises(ModelError, match=f"has a pipe or a device in it, {name}"):
            models.check(str(strange.parents[name.count("/")]), config(), ROOT)
    (make_model(tmp_path / "good") / "link").symlink_to(tmp_path / "nothing")
    models.check(str(tmp_path / "good"), config(), ROOT)


@pytest.mark.parametrize("shard", ["../pipe", "/tmp/pipe", "sub/pipe", "..", "", "missing", 5, None, []])
def test_an_index_that_leads_out_of_the_folder_is_refused(tmp_path: Path, shard: Any) -> None:
    """The library opens what it names, wherever that is; an index of the folder's own files is fine."""
    folder = make_model(tmp_path / "model")
    index = folder / "model.safetensors.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"w": "model.safetensors"}}))
    models.check(str(folder), config(), ROOT)
    index.write_text(json.dumps({"metadata": {}, "weight_map": {"w": "model.safetensors", "x": shard}}))
    with pytest.raises(ModelError, match="names files that are not in the folder"):
        models.check(str(folder), config(), ROOT)


@pytest.mark.parametrize("content", ["", "{}", "[]", '{"weight_map": 5}', "[" * 5000])
def test_an_index_that_is_damaged_is_refused(tmp_path: Path, content: str) -> None:
    """In words."""
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors.index.json").write_text(content)
    with pytest.raises(ModelError, match="an index of weights that is damaged"):
        models.check(str(folder), config(), ROOT)


def test_weights_that_are_a_pipe_are_none(tmp_path: Path) -> None:
    """Nor is a configuration that is one."""
    for name in ("model.safetensors", "config.json"):
        folder = make_model(tmp_path / name)
        (folder / name).unlink()
        os.mkfifo(folder / name)
        with pytest.raises(ModelError, match=r"no config\.json with weights beside it"):
            models.check(str(folder), config(), ROOT)


@pytest.mark.parametrize("name", ["x" * 256, "x" * 5000, "/" + "x" * 256, "~/" + "x" * 256, "x\0y", "/x\0y"])
def test_a_name_that_no_file_can_have_is_refused(name: str) -> None:
    """As one that there is not."""
    with pytest.raises(ModelError):
        models.check(name, config(), ROOT)


@pytest.mark.parametrize(
    "header",
    [
        "[]",
        '{"w": 1}',
        '{"w": {"shape": ["x"]}}',
        '{"w": {"shape": [-1]}}',
        '{"w": {"shape": [%s]}}' % ("9" * 400),
        '{"w": %s}' % ("[" * 5000 + "]" * 5000),
    ],
)
def test_a_header_that_makes_no_sense_refuses_nothing(tmp_path: Path, header: str) -> None:
    """Its size is not known; loading it will say what is wrong."""
    folder = make_model(tmp_path / "model")
    (folder / "model.safetensors").write_bytes(struct.pack("<Q", len(header)) + header.encode())
    assert count_parameters(folder) is None
    models.check(str(folder), config(), ROOT)


def test_a_model_that_does_not_fit_is_refused_with_the_figures(tmp_path: Path) -> None:
    """7 billion parameters need 26 GiB for their weights alone."""
    folder = make_model(tmp_path / "large", 7_000_000_000)
    with pytest.raises(ModelError, match=r"about 35\.9 GiB \(26\.1 GiB of weights\), and 8\.0 GiB are available"):
        models.check(str(folder), config(), ROOT)


def test_a_model_whose_sizes_are_known_is_refused_with_what_would_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Batches are no reason: the worker divides them. Memory that another job frees until then is there."""
    folder = make_model(tmp_path / "model", 134_515_008)
    (folder / "config.json").write_text(json.dumps(LLAMA))
    monkeypatch.setattr(hardware, "available_bytes", lambda: GIB)
    models.check(str(folder), config(batchSize=512, loraR=8, dtype="bfloat16"), ROOT)
    with pytest.raises(ModelError, match=r"1\.0 GiB are available\. It would fit with dtype='bfloat16'; or with "):
        models.check(str(folder), config(loraR=64), ROOT)
    models.check(str(folder), config(loraR=64), ROOT, spare_bytes=GIB)


def test_memory_of_the_device_counts_where_there_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Four bits make a model fit; an unknown figure refuses nothing."""
    folder = str(make_model(tmp_path / "large", 7_000_000_000))
    monkeypatch.setattr(hardware, "has_cuda", lambda: True)
    monkeypatch.setattr(hardware, "cuda_bytes", lambda: 12 * GIB)
    with pytest.raises(ModelError, match="Not enough memory"):
        models.check(folder, config(), ROOT)
    models.check(folder, config(loadIn4bit=True), ROOT)
    monkeypatch.setattr(hardware, "cuda_bytes", lambda: None)
    models.check(folder, config(), ROOT)


def test_no_room_for_the_catalogue_model_is_said_before_the_job(monkeypatch: pytest.MonkeyPatch) -> None:
    """Making it needs several hundred MiB."""
    usage = mock.Mock(free=10 * 2**20)
    monkeypatch.setattr("shutil.disk_usage", lambda _: usage)
    with pytest.raises(ModelError, match="No space left for model smollm2-135m"):
        models.check("smollm2-135m", config(), ROOT)


class Hub:
    """Answers in the place of the hub."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.cached: Path | None = None
        self.info: Any = mock.Mock(gated=False, safetensors=mock.Mock(total=1000))
        self.refusal: Exception | None = None
        self.gate: Exception | None = None
        monkeypatch.setattr(checking, "cached_folder", lambda _: self.cached)
        monkeypatch.setattr("huggingface_hub.HfApi", lambda: self)

    def model_info(self, _name: str, timeout: float) -> Any:
        if self.refusal is not None:
            raise self.refusal
        return self.info

    def auth_check(self, _name: str) -> None:
        if self.gate is not None:
            raise self.gate


@pytest.fixture
def asked_hub(monkeypatch: pytest.MonkeyPatch) -> Hub:
    pytest.importorskip("huggingface_hub")
    return Hub(monkeypatch)


def hub_error(name: str, status: int) -> Exception:
    from huggingface_hub import errors

    made: Exception = getattr(errors, name)("no", response=mock.Mock(status_code=status, headers={}))
    return made


def test_a_model_of_the_hub_passes_and_its_size_counts(asked_hub: Hub) -> None:
    """The hub tells how many parameters it has."""
    models.check("owner/name", config(), ROOT)
    asked_hub.info.safetensors.total = 7_000_000_000
    with pytest.raises(ModelError, match="Not enough memory"):
        models.check("owner/name", config(), ROOT)


def test_a_model_in_the_cache_needs_no_hub(asked_hub: Hub, tmp_path: Path) -> None:
    """It is not even asked; the sizes in its files count."""
    asked_hub.cached, asked_hub.refusal = make_model(tmp_path / "snapshot"), ConnectionError("down")
    models.check("owner/name", config(), ROOT)
    (tmp_path / "snapshot" / "config.json").write_text(json.dumps(LLAMA | {"vocab_size": 10**9}))
    with pytest.raises(ModelError, match="Not enough memory"):
        models.check("owner/name", config(modulesToSave=["lm_head"]), ROOT)


def test_a_hub_that_cannot_be_reached_is_explained(monkeypatch: pytest.MonkeyPatch) -> None:
    """By the hub's own client, whatever HTTP library it is built on."""
    hub_client = pytest.importorskip("huggingface_hub")
    api = hub_client.HfApi(endpoint="http://127.0.0.1:9")
    monkeypatch.setattr("huggingface_hub.HfApi", lambda: api)
    with pytest.raises(ModelError, match="the Hugging Face hub cannot be reached"):
        models.check("owner/name", config(), ROOT)


def test_what_the_hub_refuses_is_explained(asked_hub: Hub) -> None:
    """No such model, gated, unreachable: each with what to do."""
    asked_hub.refusal = hub_error("RepositoryNotFoundError", 404)
    with pytest.raises(ModelError, match="has no model 'owner/name'"):
        models.check("owner/name", config(), ROOT)
    asked_hub.refusal = ConnectionError("name resolution")
    with pytest.raises(ModelError, match=r"cannot be reached \(ConnectionError\)"):
        models.check("owner/name", config(), ROOT)
    asked_hub.refusal, asked_hub.gate = None, hub_error("GatedRepoError", 403)
    asked_hub.info.gated = "manual"
    with pytest.raises(ModelError, match="is gated: accept its terms"):
        models.check("owner/name", config(), ROOT)


def test_the_catalogue_knows_its_own_sizes() -> None:
    """The disk is asked for what the making takes at its highest."""
    model = CATALOGUE["smollm2-135m"]
    assert model.disk_bytes >= model.gguf_bytes + model.ready_bytes


def test_the_server_loads_no_torch_for_it() -> None:
    """Checking and listing are made by the process that serves HTTP."""
    code = (
        "import sys, arkor.backend.jobs.supported; from arkor.backend import models; models.listing(); "
        "sys.exit(str({'torch', 'transformers', 'datasets'} & set(sys.modules) or '') or 0)"
    )
    root = str(Path(checking.__file__).parents[3])
    environment = {"PYTHONPATH": root, "HOME": str(Path.home())}
    subprocess.run([sys.executable, "-c", code], env=environment, check=True)

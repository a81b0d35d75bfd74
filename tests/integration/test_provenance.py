"""An adapter leaves the machine that made it: other machines load it, and read what made it, but no secret."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from arkor.client.unpack import unpack
from tests.support.blobs import BlobHost, whole
from tests.support.receiver import TOKEN, Receiver

pytestmark = [pytest.mark.training, pytest.mark.timeout(240)]

ROOT = Path(__file__).parents[2]
COMMIT = "0123456789abcdef0123456789abcdef01234567"
LOAD = """
import sys, peft
model = peft.AutoPeftModelForCausalLM.from_pretrained(sys.argv[1])
trained = sum(weight.abs().sum() for name, weight in model.named_parameters() if "lora_B" in name)
print(model.config.vocab_size, bool(trained > 0))
"""


@pytest.fixture(scope="module")
def hub_cache(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache of the hub with the tiny model as ``owner/base``."""
    cache = tmp_path_factory.mktemp("hub")
    model = cache / "models--owner--base"
    shutil.copytree(model_folder, model / "snapshots" / COMMIT)
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text(COMMIT)
    return cache


def environment(home: Path, hub_cache: Path) -> dict[str, str]:
    """Return the environment of a machine that has a cache of the hub, and no network."""
    return {
        **os.environ,
        "HOME": str(home),
        "PYTHONPATH": str(ROOT),
        "HF_HUB_CACHE": str(hub_cache),
        "HF_HUB_OFFLINE": "1",
    }


@pytest.fixture(scope="module")
def adapters(hub_cache: Path, rows: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A checkpoint and the final adapter of a job of the worker, unpacked; its rows are at a URL with secrets."""
    home = tmp_path_factory.mktemp("secret-home")
    folder = home / "jobs" / "job_secret"
    folder.mkdir(parents=True)
    with Receiver() as receiver, BlobHost([whole(rows.read_bytes())]) as host:
        source = {"type": "blob", "url": f"{host.url('me:secret-password@127.0.0.1')}?sig=secret-signature"}
        spec: dict[str, Any] = {
            "jobId": "job_secret",
            "attempt": 1,
            "token": TOKEN,
            "backendUrl": receiver.url,
            "name": "secret-name",
            "jobDir": str(folder),
            "threads": 1,
            "allowPrivateUrls": True,
            "config": {
                "model": "owner/base",
                "datasetSource": {**source, "token": "secret-token"},
                "maxSteps": 2,
                "saveSteps": 1,
                "datasetFormat": {"type": "chatml"},
            },
        }
        (folder / "spec.json").write_text(json.dumps(spec))
        worker = [sys.executable, "-m", "arkor.backend.training_worker", str(folder / "spec.json")]
        ended = subprocess.run(
            worker, env=environment(home, hub_cache), capture_output=True, text=True, check=False, timeout=200
        )
    assert ended.returncode == 0, ended.stderr
    unpacked = {}
    for tar in (folder / "artifacts").iterdir():
        unpacked[tar.stem] = tmp_path_factory.mktemp("elsewhere") / tar.stem
        with tar.open("rb") as archive:
            unpack(archive, unpacked[tar.stem])
    return unpacked


def test_an_adapter_loads_on_another_machine(adapters: dict[str, Path], hub_cache: Path, tmp_path: Path) -> None:
    """With PEFT alone: a HOME without any folder of arkor's, and the base model in a cache of the hub."""
    ended = subprocess.run(
        [sys.executable, "-c", LOAD, str(adapters["adapter"])],
        env=environment(tmp_path, hub_cache),
        capture_output=True,
        text=True,
        check=False,
        timeout=200,
    )
    assert ended.stdout == "45 True\n", ended.stderr


def test_each_adapter_names_its_base_and_its_commit(adapters: dict[str, Path]) -> None:
    """So that a newer commit on the hub changes nothing."""
    assert set(adapters) == {"checkpoint-1", "checkpoint-2", "adapter"}
    for folder in adapters.values():
        config = json.loads((folder / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("owner/base", COMMIT)


def test_the_record_has_no_secret_and_no_path(adapters: dict[str, Path], rows: Path) -> None:
    """Neither a token, a signature or a password, nor the job or a folder of the machine; the rows are known still."""
    for folder in adapters.values():
        text = (folder / "arkor.json").read_text()
        assert "secret" not in text
        assert TOKEN not in text
        assert str(folder.parents[2]) not in text  # where tests keep their files
        record = json.loads(text)
        assert record["model"] == {"name": "owner/base", "revision": COMMIT}
        assert set(record["rows"]) == {"type", "url", "sha256"}
        assert record["rows"]["url"].endswith("/rows.jsonl")
        assert record["receipt"]["rows"] == len(rows.read_text().splitlines())

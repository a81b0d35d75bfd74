"""Studio as its user has it: ``arkor dev --local``, this user's own backend, and a model that is really trained."""

from __future__ import annotations

import hashlib
import json
import re
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from selenium import webdriver
from selenium.webdriver.common.keys import Keys

from tests.browser.conftest import used
from tests.browser.jobview import charted, lines, logged, saved, trace
from tests.browser.page import Page
from tests.conftest import MODEL
from tests.support.eventually import eventually
from tests.support.studio import StudioProcess

pytestmark = [pytest.mark.slow, pytest.mark.training, pytest.mark.timeout(240)]

STEPS = 6
TRAINING_S = 120.0
ANSWER_S = 180.0
ENTRY = f"""\
import arkor

trainer = arkor.create_trainer(
    name="lamps",
    model="{MODEL}",
    dataset=arkor.LocalDataset("lamps.jsonl"),
    dataset_split={{"eval_fraction": 0.1}},
    lora=arkor.LoraConfig(r=8, alpha=16),
    max_steps={STEPS},
    batch_size=2,
    learning_rate=1e-3,
    logging_steps=1,
    eval_steps=3,
    save_steps=3,
)
arkor.create_arkor(trainer=trainer)
"""


@pytest.fixture
def project(project: Path) -> Path:
    """A project whose trainer teaches a real model a few rows, in a few seconds."""
    entry = project / "src" / "arkor" / "index.py"
    entry.parent.mkdir(parents=True)
    entry.write_text(ENTRY)
    colours = ("red", "green", "blue", "white")
    rows = [
        [
            {"role": "user", "content": f"Lamp {number} is {colours[number % 4]}. Report it."},
            {"role": "assistant", "content": f"lamp {number}: {colours[number % 4]}"},
        ]
        for number in range(40)
    ]
    (project / "lamps.jsonl").write_text("".join(json.dumps({"messages": row}) + "\n" for row in rows))
    return project


@pytest.fixture
def studio(project: Path, home: Path, model_home: Path) -> Iterator[StudioProcess]:
    """Studio in that project, with a backend that it starts by itself, and that has the model."""
    models = home / ".arkor" / "models"
    models.mkdir(parents=True)
    (models / MODEL).symlink_to(model_home / ".arkor" / "models" / MODEL)
    server_file = home / ".arkor" / "local" / "server.json"
    try:
        with StudioProcess("--local", environment={"PYTHONWARNINGS": "default"}) as running:
            yield running
    finally:
        if server_file.exists():
            backend = psutil.Process(json.loads(server_file.read_bytes())["pid"])
            children = backend.children(recursive=True)
            backend.send_signal(signal.SIGTERM)
            psutil.wait_procs([backend, *children], 20)


@pytest.fixture
def page(chromium: webdriver.Chrome, studio: StudioProcess) -> Iterator[Page]:
    """Its page, with the timers that its users have, not yet open."""
    with used(Page(chromium, url=f"{studio.url}/")) as page:
        yield page


def test_a_model_is_trained_and_asked(page: Page, studio: StudioProcess, downloads: Path) -> None:
    """From the first look at the page to an answer of what was trained: look, run, watch, download, ask."""
    _look(page)
    _run(page)
    job_id = _watch(page)
    _download(page, studio, job_id, downloads)
    _ask(page, job_id)
    _list(page, job_id)


def _look(page: Page) -> None:
    """Look at the rows before anything is trained: what counts, the lengths, and the rows that have a text."""
    page.open("#/data")
    page.the("h2", "Row 1", ANSWER_S)
    page.the(".example mark.counted", "lamp 0: red")
    page.the(".summary", "36 rows to train on, 4 held out", ANSWER_S)
    page.the("#row-search").send_keys("LAMP 39 is", Keys.ENTER)
    page.click(".hit-list a", "Row 40", ANSWER_S)
    page.the("h2", "Row 40, held out", ANSWER_S)
    page.the(".example mark.counted", "lamp 39: white")
    assert page.accessibility() == []


def _run(page: Page) -> None:
    """Start it on Home; its output is followed, also over a reload."""
    page.open()
    page.click("button", "Run training: lamps")
    page.the(".run-status", "Run under way.", ANSWER_S)
    page.click(".fold", "Output", TRAINING_S)
    page.the(".log", "Started job ", TRAINING_S)
    page.browser.refresh()
    page.click(".fold", "Output")
    page.the(".log", "Started job ")
    page.the(".run-status", "Run under way.")
    assert page.accessibility() == []
    page.click(".run-status a")


def _watch(page: Page) -> str:
    """The chart grows while it trains; what comes is there once, also after the way back and a reload."""
    page.titled("lamps")
    page.the(".status-running", timeout_s=TRAINING_S)
    eventually(lambda: trace(page, "loss").get("x"), "a first loss", TRAINING_S)
    seen = trace(page, "loss")["x"][-1]
    assert seen < STEPS
    page.browser.back()
    page.the(".training-bar", f"of {STEPS}")
    page.browser.forward()
    eventually(lambda: trace(page, "loss").get("x", [0])[-1] > seen, "another loss", TRAINING_S)
    assert page.all(".status-running")
    charted(page, STEPS, TRAINING_S)
    page.the(".status-completed", timeout_s=TRAINING_S)
    page.the(".log", "Completed.")
    told = lines(page)
    page.browser.refresh()
    charted(page, STEPS)
    assert lines(page) == told
    assert trace(page, "loss")["x"] == list(range(1, STEPS + 1))
    assert trace(page, "loss")["y"][-1] < trace(page, "loss")["y"][0]
    assert trace(page, "eval loss")["x"] == [3, 6]
    assert sorted(set(logged(page))) == list(range(1, STEPS + 1))
    page.the(".job-facts", f"{STEPS} of {STEPS}")
    page.the(".artifacts", "artifacts: 3")
    assert page.accessibility() == []
    return page.browser.current_url.rpartition("/")[2]


def _download(page: Page, studio: StudioProcess, job_id: str, downloads: Path) -> None:
    """The adapter arrives as it was made."""
    left = studio.get(f"/api/jobs/{job_id}/artifacts").json()["artifacts"]
    adapter = next(one for one in left if one["name"] == "adapter")
    page.click("[aria-label='Download adapter']")
    content = saved(downloads, f"{job_id}-adapter.tar")
    assert hashlib.sha256(content).hexdigest() == adapter["sha256"]


def _ask(page: Page, job_id: str) -> None:
    """The playground knows it, beside its base model; the answers of both come."""
    page.run("scrollTo(0, 0)")
    page.click(".job-actions a", "Try it")
    page.titled("Playground")
    assert page.browser.current_url.endswith(f"#/playground?job={job_id}")
    # The list of jobs may be older than this one, for a moment.
    eventually(lambda: page.the("#play-compare").is_enabled(), "the job's model is known")
    page.click(".switch-label", "Compare with base")
    page.the("#play-maxTokens").send_keys("12")
    eventually(lambda: page.the(".composer-buttons .button-primary").is_enabled(), "a question can be sent")
    page.the("#play-input").send_keys("Lamp 7 is white. Report it.\n")
    for who in ("lamps, final adapter", f"{MODEL}, base model"):
        page.the(".answer[aria-busy=false]", who, ANSWER_S)
    assert len(page.all(".answer-foot .figure")) == 2
    assert all(page.texts(".answer-text"))
    assert page.texts(".answer-who") == ["lamps, final adapter", f"{MODEL}, base model"]
    assert page.accessibility() == []


def _list(page: Page, job_id: str) -> None:
    """It is among the jobs, with how long it took and its last loss."""
    page.click("nav a", "Jobs")
    page.the("tbody a", "lamps")
    [cells] = page.run("return [...document.querySelectorAll('tbody tr')].map((row) => "
                       "[...row.cells].map((cell) => cell.textContent))")  # fmt: skip
    status, name, _, duration, loss, shown_id = cells
    assert (status, name.strip()) == ("completed", "lamps")
    assert re.fullmatch(r"(\d+ min )?\d+ s", duration)
    assert re.fullmatch(rf"\d\.\d{{4}}step {STEPS}", loss)
    assert shown_id.startswith(job_id)
    assert page.accessibility() == []

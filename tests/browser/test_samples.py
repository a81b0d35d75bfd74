"""Studio's tab of a job's samples: a table of prompts and steps, and the way from an answer to the Playground."""

from __future__ import annotations

from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browser.page import Page
from tests.support.eventually import eventually
from tests.support.studio_job import ScriptedJob
from tests.support.studio_script import Answer, ScriptedStudio

ROUTE = "#/jobs/job_1?tab=samples"
SAMPLES = "GET /api/jobs/job_1/samples"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
TEXT = "(cell) => cell.innerText"
SYSTEM = {"role": "system", "content": "Be brief."}
ASKED = {"role": "user", "content": "When do you open?"}


@pytest.fixture
def studio(studio: ScriptedStudio) -> ScriptedStudio:
    """A stand-in whose backend makes samples."""
    studio.can("samples")
    return studio


@pytest.fixture
def job(studio: ScriptedStudio) -> ScriptedJob:
    """A job that runs and is asked one prompt, of a held-out row, and another of its settings."""
    job = studio.job("job_1", name="triage")
    job.wire["config"] |= {"samplePrompts": 2, "saveSteps": 20}
    studio.answers["GET /api/jobs"] = Answer({"jobs": [job.wire]})
    studio.answers["GET /api/models"] = Answer({"models": [{"id": "smollm2-135m", "ready": True}]})
    return job


def answered(job: ScriptedJob, step: int, first: str, second: str = "Blue.") -> None:
    """Let both prompts be answered at a step."""
    expected = {"expected": "At nine.", "exact": first == "At nine."}
    job.sample(step, 0, first, prompt=[SYSTEM, ASKED], row=17, **expected)
    job.sample(step, 1, second)


def table(page: Page) -> list[list[str]]:
    """Return the texts of the table, row by row."""
    rows = "return [...document.querySelectorAll('.samples-table tr')]"
    return [[str(cell) for cell in row] for row in page.run(f"{rows}.map((row) => [...row.cells].map({TEXT}))")]


def test_the_answers_stand_in_a_table(page: Page, job: ScriptedJob) -> None:
    """What changed, what stayed and what equals the expected answer is said in words; a new step comes by itself."""
    answered(job, 0, "We open when we open.", "Red.")
    answered(job, 20, "We open at nine.")
    job.artifacts = [{"name": f"checkpoint-{step}", "kind": "adapter", "step": step} for step in (20, 40)]
    job.logs(range(1, 701))  # the events that the page has of the job do not reach back to the samples
    page.look(1280, 900)
    page.open(ROUTE)
    page.the(".samples td", "We open at nine.")
    head, first, second = table(page)
    assert head == ["Prompt", "Base model0 of 1 \N{CHECK MARK}", "Step 200 of 1 \N{CHECK MARK}"]
    assert first[0].split("\n") == [
        *("Row 17, held out", "1 earlier message", "When do you open?", "Expected", "At nine."),
    ]
    assert [cell.split("\n") for cell in first[1:]] == [["We open when we open."], ["We open at nine.", "changed"]]
    assert page.texts(".samples ins") == ["at nine."]
    assert [cell.split("\n") for cell in second] == [["Prompt 2", "Question 1?"], ["Red."], ["Blue.", "changed"]]
    focused = page.the(".samples td a", "We open at nine.")
    page.run("arguments[0].focus()", focused)
    answered(job, 40, "At nine.")
    page.the(".samples td", "At nine.")
    assert page.browser.switch_to.active_element == focused
    assert table(page)[0][-1] == "Step 401 of 1 \N{CHECK MARK}"
    assert [row[-1].split("\n") for row in table(page)[1:]] == [
        *(["At nine.", "\N{CHECK MARK}", "changed"], ["Blue.", "unchanged"]),
    ]
    for width, scheme in ((1280, "dark"), (390, "light"), (390, "dark")):
        page.look(width, 900, scheme)
        assert page.accessibility() == []
        assert page.overflow() == 0
    page.the(".samples td", "At nine.")


def test_a_long_answer_is_folded(page: Page, job: ScriptedJob) -> None:
    """The keyboard unfolds it, and it stays unfolded when others come; nothing that was said is markup."""
    long = f"{MARKUP} " + 60 * "word "
    answered(job, 0, long + "end", MARKUP)
    job.sample(20, 0, long + "END", truncated=True, prompt=[SYSTEM, ASKED])
    page.open(ROUTE)
    page.the(".samples td", MARKUP)
    assert "END" not in page.the(".samples").text
    buttons = page.all(".samples td button", "Show all")
    buttons[1].send_keys(Keys.ENTER)
    page.the(".samples td", "END")
    assert page.texts(".samples ins") == ["END"]
    page.the(".sample-marks", "cut at its longest length")
    job.sample(40, 0, "short", prompt=[SYSTEM, ASKED])
    page.the(".samples td", "short")
    page.the(".samples td", "END")
    assert page.run("return document.querySelectorAll('.samples img, .samples b').length") == 0


def test_an_answer_leads_to_its_checkpoint_and_its_prompt(page: Page, job: ScriptedJob) -> None:
    """The final adapter stands for the last checkpoint if that is gone; of others that are gone the head says so."""
    for step in (0, 20, 40, 60):
        answered(job, step, f"At {step}.")
    job.artifacts = [{"name": "checkpoint-40", "kind": "adapter", "step": 40}, {"name": "adapter", "kind": "adapter"}]
    job.end("training.completed", metrics={"steps": 60})
    for step, version in ((40, "Checkpoint at step 40"), (60, "Final adapter"), (0, None)):
        page.open(ROUTE)
        page.the(".samples th", "no checkpoint")
        page.click(".samples td a", f"At {step}.")
        eventually(lambda: page.the("#play-input").get_attribute("value") == ASKED["content"], "the question")
        assert page.the("#play-system").get_attribute("value") == SYSTEM["content"]
        eventually(lambda: page.run("return document.activeElement.id") == "play-input", "the focus on it")
        shown = [Select(one).first_selected_option.text for one in page.all("#play-who, #play-version")]
        assert shown == (["triage", version] if version else ["smollm2-135m"])
    page.open(ROUTE)
    page.the(".samples td", "At 20.")
    assert page.all(".samples td a", "At 20.") == []
    assert [cell.split("\n")[-1] for cell in table(page)[0]].count("no checkpoint") == 1


def test_a_prompt_of_several_turns_begins_a_conversation(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """In place of the one before; a reload keeps what was asked since."""
    turns = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Hello!"}]
    job.sample(0, 0, "At nine.", prompt=[SYSTEM, *turns, ASKED])
    studio.answers["POST /api/inference/chat"] = Answer({"choices": [{"message": {"content": "At ten."}}]})
    page.open("#/playground?model=smollm2-135m")
    page.the("#play-system").send_keys("Shout.")
    page.the("#play-input").send_keys("Old question", Keys.ENTER)
    page.reads(".answer-text", "At ten.")
    page.open(ROUTE)
    page.click(".samples td a", "At nine.")
    page.reads(".question", "You: Hi")
    eventually(lambda: page.the("#play-input").get_attribute("value") == ASKED["content"], "the question")
    page.the("#play-input").send_keys(Keys.ENTER)
    sent = page.asked("POST /api/inference/chat", 2)[1]
    assert (sent["baseModel"], sent["messages"]) == ("smollm2-135m", [SYSTEM, *turns, ASKED])
    page.reads(".answer-text", "At ten.")
    page.browser.refresh()
    page.the(".question", ASKED["content"])
    assert page.the("#play-input").get_attribute("value") == ""
    page.run("sessionStorage.clear(); Storage.prototype.setItem = () => {};")


def test_the_base_model_continues_plain_text(page: Page, job: ScriptedJob, studio: ScriptedStudio) -> None:
    """As the job's adapter would."""
    job.wire["promptForm"] = "raw"
    job.sample(0, 0, " a time", prompt="Once upon ")
    studio.answers["POST /api/inference/completions"] = Answer({"choices": [{"text": " a time"}]})
    page.open(ROUTE)
    page.click(".samples td a", "a time")
    eventually(lambda: page.the("#play-input").get_attribute("value") == "Once upon ", "the text")
    page.the(".picker-note", "it continues what you write")
    page.the("#play-input").send_keys(Keys.ENTER)
    [sent] = page.asked("POST /api/inference/completions")
    assert (sent["baseModel"], sent["prompt"]) == ("smollm2-135m", "Once upon ")
    page.run("sessionStorage.clear(); Storage.prototype.setItem = () => {};")


@pytest.mark.parametrize(
    ("config", "says"),
    [({"samplePrompts": 2}, "No samples yet"), ({}, "This job makes no samples. With sample_prompts=8")],
)
def test_a_job_without_samples_says_so(page: Page, studio: ScriptedStudio, config: dict[str, Any], says: str) -> None:
    """And how to get some; a list that cannot be loaded is asked for again."""
    page.meets_refusals = True
    job = studio.job("job_1")
    job.wire["config"] |= config
    studio.answers[SAMPLES] = Answer({"error": "The backend is down."}, 502)
    page.open(ROUTE)
    page.the(".samples .problem", "The samples cannot be loaded: The backend is down.")
    del studio.answers[SAMPLES]
    page.click(".samples button", "Try again")
    page.gone(".samples .problem")
    page.the(".samples-note", says)
    assert page.accessibility() == []

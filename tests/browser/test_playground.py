"""The playground: who answers, how the answers come, and what happens when they do not."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.support.ui import Select

from tests.browser.page import Page
from tests.support.cloud import Cloud
from tests.support.contract import CHAT as CLOUD_CHAT, Stream
from tests.support.events import DONE, chunk
from tests.support.eventually import eventually
from tests.support.studio_script import ABOUT, Answer, ByQuestion, ScriptedStudio, Streamed

CHAT = "POST /api/inference/chat"
JOBS = "GET /api/jobs"
MODELS = "GET /api/models"
BASE = "smollm2-135m"
MARKUP = "<img src=x onerror=alert(1)><b>bold</b>"
PYTHON_TIMEOUT_S = 30.0
LABEL = "triage, final adapter"


def job(name: str, status: str = "completed", **config: Any) -> dict[str, Any]:
    """Return a job as a backend tells it."""
    return {
        "id": f"job_{name}",
        "name": name,
        "status": status,
        "createdAt": "2026-01-31T09:30:00Z",
        "config": {"model": BASE, **config},
    }


def artifacts(*steps: int, final: bool = True) -> Answer:
    """Answer what a job has left."""
    names = [{"name": f"checkpoint-{step}", "kind": "adapter", "step": step} for step in steps]
    return Answer({"artifacts": [*names, *([{"name": "adapter", "kind": "adapter"}] if final else [])]})


def usage(tokens: int) -> bytes:
    """Return the chunk that counts the tokens."""
    return f'data: {{"choices": [], "usage": {{"completion_tokens": {tokens}}}}}\n\n'.encode()


def says(*pieces: str) -> Streamed:
    """Return a streamed answer that is all there."""
    return Streamed(*map(chunk, pieces), chunk(finish_reason="stop"), DONE)


@pytest.fixture
def studio(studio: ScriptedStudio) -> ScriptedStudio:
    """A stand-in with a job that completed, one that runs, and two base models."""
    studio.answers[JOBS] = Answer({"jobs": [job("support", "running", saveSteps=20), job("triage")]})
    studio.answers[MODELS] = Answer({"models": [{"id": BASE, "ready": True}, {"id": "qwen3-0.6b", "ready": False}]})
    studio.answers["GET /api/jobs/job_triage/artifacts"] = artifacts(20, 40)
    studio.answers["GET /api/jobs/job_support/artifacts"] = artifacts(20, final=False)
    studio.answers[CHAT] = says("Hel", "lo!")
    return studio


@pytest.fixture
def page(page: Page) -> Iterator[Page]:
    """The page, which leaves the next test nothing that it keeps for a reload."""
    yield page
    page.run("sessionStorage.clear(); Storage.prototype.setItem = () => {};")


@pytest.fixture
def play(page: Page, studio: ScriptedStudio) -> Page:
    """The playground, open."""
    page.open("#/playground")
    chosen(page, "triage", "Final adapter")
    page.the("#play-who", BASE)
    return page


def chosen(page: Page, who: str, version: str = "") -> None:
    """Wait until somebody is chosen to answer."""
    script = "return [...document.querySelectorAll('#play-who, #play-version')].filter((one) => one.checkVisibility())"
    wanted = [who, version] if version else [who]
    look = f"{script}.map((one) => one.selectedOptions[0]?.textContent)"
    eventually(lambda: page.run(look) == wanted, f"{wanted} to be chosen, not {page.run(look)}")


def ask(page: Page, question: str = "Hi?") -> None:
    """Type a question and send it."""
    page.the("#play-input").send_keys(question, Keys.ENTER)


def select(page: Page, css: str, text: str) -> None:
    """Choose from a list."""
    Select(page.the(css)).select_by_visible_text(text)


def texts(page: Page, css: str) -> list[str]:
    """Return the texts of all that a selector finds."""
    return [str(text) for text in page.run("return [...document.querySelectorAll(arguments[0])].map((one) => "
                                           "one.textContent)", css)]  # fmt: skip


def address(page: Page) -> str:
    """Return the route in the address."""
    return page.browser.current_url.partition("#")[2]


def test_an_answer_comes_bit_by_bit(play: Page, studio: ScriptedStudio) -> None:
    """What has come is shown before the end; then it says how fast it was, once to those who listen."""
    answer = studio.answers[CHAT] = Streamed()
    ask(play, "My lamp smells burnt!")
    answer.say(chunk("Un"), chunk("plug"))
    play.reads(".answer-text", "Unplug")
    assert play.the(".answer").get_attribute("aria-busy") == "true"
    assert play.the("#announcer", "").text in ("", "Playground")
    play.button("Stop")
    answer.say(chunk(" it."), chunk(finish_reason="stop"), usage(7), DONE)
    play.reads(".answer-text", "Unplug it.")
    play.the(".answer-foot", "to the first token")
    assert "7 tokens" in play.the(".answer-foot").text
    assert "tokens/s" in play.the(".answer-foot").text
    play.reads("#announcer", f"{LABEL} answered: Unplug it.")
    assert play.the(".answer").get_attribute("aria-busy") == "false"
    assert texts(play, ".question") == ["You: My lamp smells burnt!"]
    assert texts(play, ".answer-who") == [LABEL]
    assert play.run("return document.activeElement.id") == "play-input"
    assert studio.asked(CHAT) == [
        {
            "adapter": {"kind": "final", "jobId": "job_triage"},
            "messages": [{"role": "user", "content": "My lamp smells burnt!"}],
            "temperature": 0,
            "stream": True,
        }
    ]


def test_reasoning_is_folded_above_the_answer_and_sent_back(play: Page, studio: ScriptedStudio) -> None:
    """It is not part of the text; an answer without any shows no place for it."""
    reasoning = [chunk(delta={"reasoning_content": piece}) for piece in ("why", "\nso")]
    studio.answers[CHAT] = Streamed(*reasoning, chunk("Unplug it."), chunk(finish_reason="stop"), DONE)
    ask(play)
    play.reads(".answer-text", "Unplug it.")
    assert texts(play, ".reasoning-text") == ["why\nso"]
    assert play.run("return document.querySelector('.answer-reasoning').open") is False
    play.click(".answer-reasoning > summary", "Reasoning")
    play.reads(".reasoning-text", "why\nso")
    studio.answers[CHAT] = says("Hello!")
    ask(play, "And then?")
    assert play.asked(CHAT, 2)[1]["messages"] == [
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Unplug it.", "reasoning_content": "why\nso"},
        {"role": "user", "content": "And then?"},
    ]
    eventually(lambda: texts(play, ".answer-text") == ["Unplug it.", "Hello!"], "the second answer")
    shown = "return [...document.querySelectorAll('.answer-reasoning')].map((one) => one.checkVisibility())"
    assert play.run(shown) == [True, False]


def test_a_conversation_goes_on_with_its_settings(play: Page, studio: ScriptedStudio) -> None:
    """What was said before is sent along, after the system prompt; what is empty is not sent."""
    ask(play)
    play.reads(".answer-text", "Hello!")
    play.the("#play-system").send_keys("Be brief.")
    for name, value in (("temperature", "0.7"), ("topP", "0.9"), ("maxTokens", "64")):
        play.the(f"#play-{name}").clear()
        play.the(f"#play-{name}").send_keys(value)
    play.the("#play-input").send_keys("One", Keys.SHIFT, Keys.ENTER, Keys.NULL, "two", Keys.ENTER)
    sent = play.asked(CHAT, 2)[1]
    assert sent["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi?"},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "One\ntwo"},
    ]
    assert (sent["temperature"], sent["topP"], sent["maxTokens"]) == (0.7, 0.9, 64)


def test_a_stream_may_be_cut_up_anywhere(play: Page, studio: ScriptedStudio) -> None:
    """Inside a character, a line end or a field; comments and other fields are passed over."""
    frames = [
        b"\xef\xbb\xbf: hello\r\n\r\n",
        b'event: x\rdata:{"choices":\rdata: [{"delta":{"content":"gr\xc3\xb6\xc3\x9fer "}}]}\r\r',
        b'data: {"choices":[{"delta":{"content":"\xf0\x9f\x98\x80"},"finish_reason":null}]}\r\n\r\n: ping\n\n',
        b"id: 4\ndata\n\ndata: {}\n\n".replace(b"data\n\n", b"\n"),
        b'data: {"choices":[{"index":1,"delta":{"content":"another answer"},"finish_reason":"length"}]}\n\n',
        chunk("\u2028done"),
        b"data: [DONE]\r\r",
    ]
    body = b"".join(frames)
    for size in (1, 7, 1000):
        answer = studio.answers[CHAT] = Streamed()
        ask(play)
        for start in range(0, len(body), size):
            answer.say(body[start : start + size])
        play.the(".answer[aria-busy=false] .answer-foot", "to the first token")
        assert texts(play, ".answer-text") == ["größer 😀\u2028done"]
        assert not play.all(".answer-error")
        play.click("button", "Clear")


def test_an_answer_without_a_stream(play: Page, studio: ScriptedStudio) -> None:
    """A backend that answers at once is shown the same way."""
    choice = {"message": {"content": "All at once"}, "finish_reason": "length"}
    said = {"choices": [choice], "usage": {"completion_tokens": 3}, "system_fingerprint": "llama.cpp-bf16"}
    studio.answers[CHAT] = Answer(said)
    ask(play)
    play.reads(".answer-text", "All at once")
    play.the(".mark", "cut at max tokens")
    play.the(".answer-foot", "3 tokens · llama.cpp-bf16")


def test_an_answer_is_stopped(play: Page, studio: ScriptedStudio) -> None:
    """By the button or Escape: what came stays, marked; the connection ends; the next question may follow at once."""
    for by_key in (False, True):
        answer = studio.answers[CHAT] = Streamed()
        ask(play)
        answer.say(chunk("Half an an"))
        play.reads(".answer-text", "Half an an")
        if by_key:
            play.press(Keys.ESCAPE)
        else:
            play.click("button", "Stop")
        play.the(".mark", "stopped")
        assert texts(play, ".answer-text") == ["Half an an"]
        assert answer.left.wait(15)
        assert play.run("return document.activeElement.id") == "play-input"
        studio.answers[CHAT] = says("whole")
        ask(play, "Go on.")
        play.reads(".answer-text", "whole")
        said = [message["content"] for message in studio.asked(CHAT)[-1]["messages"]]
        assert said == ["Hi?", "Half an an", "Go on."]
        play.click("button", "Clear")


def test_a_question_that_is_not_answered_yet_is_stopped(play: Page, studio: ScriptedStudio) -> None:
    """Also before the first byte; what got no answer is not sent again."""
    gate = threading.Event()
    studio.answers[CHAT] = Answer({}, gate=gate)
    ask(play)
    play.asked(CHAT)
    play.click("button", "Stop")
    play.the(".mark", "stopped")
    gate.set()
    studio.answers[CHAT] = says("yes")
    ask(play, "Again?")
    play.reads(".answer-text", "yes")
    assert studio.asked(CHAT)[1]["messages"] == [{"role": "user", "content": "Again?"}]


FAILURES = (
    (Answer({"error": "Job job_triage has no final adapter"}, 410), "adapter. Choose another one."),
    (Answer({"error": "Too many chats."}, 503), "Too many chats. Retry in a moment."),
    (Answer({"error": "Fetch it first."}, 409), "Fetch it first."),
    (Answer({"error": {"message": "odd"}}), "odd. Retry."),
    (Streamed(chunk("Hel"), b'data: {"error": {"message": "out of memory"}}\n\n'), "out of memory. Retry."),
    (Streamed(chunk("Hel"), b"data: {oh}\n\n"), "holds something that is not JSON: {oh}"),
    (Streamed(chunk("Hel")), "The answer was cut in the middle"),
)


def test_an_answer_that_fails_says_why(play: Page, studio: ScriptedStudio) -> None:
    """Beside the turn, with what to do; what came stays; a retry asks the same again."""
    play.meets_refusals = True
    for answer, said in FAILURES:
        studio.answers[CHAT] = answer
        ask(play)
        play.the(".answer-error", said)
        assert texts(play, ".answer-text") == (["Hel"] if isinstance(answer, Streamed) else [""])
        studio.answers[CHAT] = says("Hello")
        play.click("button", "Retry")
        play.reads(".answer-text", "Hello")
        assert texts(play, ".question") == ["You: Hi?"]
        first, second = studio.asked(CHAT)[-2:]
        assert first == second
        play.click("button", "Clear")
    play.reads("#announcer", f"{LABEL} answered: Hello")


def test_a_connection_that_breaks_in_the_middle(play: Page, studio: ScriptedStudio) -> None:
    """It is never taken for the end of the answer, nor sent along; what is made anew takes the last one's place."""
    play.meets_refusals = True
    answer = studio.answers[CHAT] = Streamed()
    ask(play)
    answer.say(chunk("Hel"))
    play.reads(".answer-text", "Hel")
    answer.cut()
    play.the(".answer-error", "The answer was cut in the middle")
    studio.answers[CHAT] = says("whole")
    ask(play, "Again?")
    play.reads(".answer-text", "whole")
    play.click("button", "Retry")
    _, second, third = play.asked(CHAT, 3)
    assert second["messages"] == third["messages"] == [{"role": "user", "content": "Again?"}]
    eventually(lambda: texts(play, ".answer-text") == ["Hel", "whole"], "one answer each")


def test_two_answers_side_by_side(play: Page, studio: ScriptedStudio) -> None:
    """The same question to the adapter and to its base, at the same time; each goes on with its own answers."""
    streams = {"adapter": Streamed(), "baseModel": Streamed()}
    studio.answers[CHAT] = ByQuestion(lambda body: streams["adapter" if "adapter" in body else "baseModel"])
    play.click("#play-compare")
    assert address(play) == "/playground?job=job_triage&compare=1"
    ask(play)
    play.asked(CHAT, 2)
    streams["baseModel"].say(chunk("base"))
    streams["adapter"].say(chunk("tuned"))
    eventually(lambda: texts(play, ".answer-text") == ["tuned", "base"], "both columns")
    assert texts(play, ".answer-who") == [LABEL, f"{BASE}, base model"]
    left, right = (answer.rect for answer in play.all(".answer"))
    assert left["y"] == right["y"]
    assert left["x"] < right["x"]
    streams["adapter"].say(DONE)
    play.the(".answer[aria-busy=false]", "tuned")
    assert play.all(".answer[aria-busy=true]", "base")
    assert play.button("Stop").is_displayed()
    streams["baseModel"].say(DONE)
    play.button("Send")
    streams.update(adapter=says("t2"), baseModel=says("b2"))
    ask(play, "And?")
    play.asked(CHAT, 4)
    sent = {("adapter" if "adapter" in body else body["baseModel"]): body for body in studio.asked(CHAT)[2:]}
    assert [message["content"] for message in sent["adapter"]["messages"]] == ["Hi?", "tuned", "And?"]
    assert [message["content"] for message in sent[BASE]["messages"]] == ["Hi?", "base", "And?"]
    play.the(".answer[aria-busy=false]", "b2")


def test_a_job_that_learnt_plain_text_continues_a_text(page: Page, studio: ScriptedStudio) -> None:
    """The page says so; the text is sent as it is, without earlier turns; its base is asked the same."""
    studio.answers[JOBS] = Answer({"jobs": [{**job("poems"), "promptForm": "raw"}]})
    studio.answers["GET /api/jobs/job_poems/artifacts"] = artifacts()
    page.open("#/playground")
    chosen(page, "poems", "Final adapter")
    page.the(".picker-note", "This job learned plain text")
    ended = b'data: {"choices": [{"text": "", "finish_reason": "stop"}]}\n\n'
    streamed = Streamed(b'data: {"choices": [{"text": " and more"}]}\n\n', ended, DONE)
    studio.answers["POST /api/inference/completions"] = streamed
    for number, text in enumerate(("One", "Two"), 1):
        ask(page, text)
        page.asked("POST /api/inference/completions", number)
        page.button("Send")
    sent = studio.asked("POST /api/inference/completions")
    assert [body["prompt"] for body in sent] == ["One", "Two"]
    assert sent[0]["adapter"] == {"kind": "final", "jobId": "job_poems"}
    assert "messages" not in sent[0]
    assert texts(page, ".answer-text") == [" and more", " and more"]
    page.click("button", "Copy as Python")
    assert "answer = client.complete(" in page.the(".script-dialog").text


def test_a_base_model_is_asked(play: Page, studio: ScriptedStudio) -> None:
    """From the backend's list; one that is not on its disk says so, until it is; comparing needs a job."""
    select(play, "#play-who", "qwen3-0.6b (not fetched)")
    play.the(".picker-note", "qwen3-0.6b is not on the backend's disk yet. Fetch it with: arkor models pull qwen3-0.6b")
    assert not play.button("Send").is_enabled()
    assert not play.the("#play-compare").is_enabled()
    play.the(".compare-note", "needs a job")
    pull = {"state": "running", "phase": "download", "done": 30, "total": 60}
    studio.answers[MODELS] = Answer({"models": [{"id": "qwen3-0.6b", "ready": False, "pull": pull}]})
    play.the(".picker-note", "qwen3-0.6b is being fetched: download 50 %.")
    studio.answers[MODELS] = Answer({"models": [{"id": "qwen3-0.6b", "ready": True}]})
    play.gone(".picker-note")
    assert address(play) == "/playground?model=qwen3-0.6b"
    ask(play)
    assert play.asked(CHAT)[0]["baseModel"] == "qwen3-0.6b"


def test_any_model_is_asked_by_its_name(play: Page) -> None:
    """A Hugging Face id or a folder, typed; the address has it."""
    select(play, "#play-who", "Another model, by its name …")
    play.the(".picker-note", "Type the name of a model.")
    play.press("owner/name", Keys.TAB)
    play.gone(".picker-note")
    assert address(play) == "/playground?model=owner%2Fname"
    ask(play)
    assert play.asked(CHAT)[0]["baseModel"] == "owner/name"
    play.browser.refresh()
    eventually(lambda: play.the("#play-model").get_property("value") == "owner/name", "the name")


def test_a_link_preselects_a_checkpoint(page: Page, studio: ScriptedStudio) -> None:
    """The job page links here; a choice that is made stands in the address, through a reload and the way back."""
    page.open("#/playground?job=job_triage&step=20")
    chosen(page, "triage", "Checkpoint at step 20")
    ask(page)
    assert page.asked(CHAT)[0]["adapter"] == {"kind": "checkpoint", "jobId": "job_triage", "step": 20}
    assert [option.text for option in Select(page.the("#play-version")).options] == [
        *("Final adapter", "Checkpoint at step 40", "Checkpoint at step 20"),
    ]
    select(page, "#play-version", "Checkpoint at step 40")
    assert address(page) == "/playground?job=job_triage&step=40"
    page.browser.refresh()
    chosen(page, "triage", "Checkpoint at step 40")
    page.reads(".answer-text", "Hello!")
    page.click("nav a", "Jobs")
    page.titled("Jobs")
    page.browser.back()
    chosen(page, "triage", "Checkpoint at step 40")
    page.reads(".answer-text", "Hello!")
    page.click("nav a", "Playground")
    chosen(page, "triage", "Checkpoint at step 40")


def test_a_running_job_is_asked_what_it_has_learnt(play: Page, studio: ScriptedStudio) -> None:
    """Its newest checkpoint answers; later ones, and the final adapter, can be chosen as soon as they are there."""
    select(play, "#play-who", "support · running")
    chosen(play, "support · running", "Checkpoint at step 20")
    ask(play)
    assert play.asked(CHAT)[0]["adapter"] == {"kind": "checkpoint", "jobId": "job_support", "step": 20}
    studio.answers["GET /api/jobs/job_support/artifacts"] = artifacts(20, 40)
    studio.answers[JOBS] = Answer({"jobs": [job("support")]})
    play.the("#play-version", "Final adapter\nCheckpoint at step 40\nCheckpoint at step 20")
    chosen(play, "support", "Checkpoint at step 20")


def test_a_job_that_has_nothing_yet_says_so(page: Page, studio: ScriptedStudio) -> None:
    """Its first checkpoint is chosen as soon as there is one."""
    studio.answers["GET /api/jobs/job_support/artifacts"] = artifacts(final=False)
    page.open("#/playground?job=job_support")
    page.the(".picker-note", "This job has no checkpoint yet; the first one, at step 20, appears here by itself.")
    assert not page.button("Send").is_enabled()
    studio.answers["GET /api/jobs/job_support/artifacts"] = artifacts(20, final=False)
    chosen(page, "support · running", "Checkpoint at step 20")
    page.gone(".picker-note")
    assert address(page) == "/playground?job=job_support&step=20"


def test_a_paused_job_is_asked_what_it_has_learnt(page: Page, studio: ScriptedStudio) -> None:
    """The list says that it is paused; without a checkpoint, a line says that nothing comes for now."""
    studio.answers[JOBS] = Answer({"jobs": [job("support", "paused", saveSteps=20), job("triage")]})
    page.open("#/playground?job=job_support")
    chosen(page, "support · paused", "Checkpoint at step 20")
    studio.answers["GET /api/jobs/job_support/artifacts"] = artifacts(final=False)
    page.open("#/playground?job=job_support")
    page.the(
        ".picker-note", "This job is paused and has no checkpoint yet. What it saves later appears here by itself."
    )


def test_a_dry_run_is_chosen_by_nobody_but_the_reader(page: Page, studio: ScriptedStudio) -> None:
    """The newest job is passed over where it is one, also where there is nothing else; the list marks it."""
    dry = job("quick", dryRun=True)
    studio.answers[JOBS] = Answer({"jobs": [dry, job("triage")]})
    studio.answers["GET /api/jobs/job_quick/artifacts"] = artifacts()
    page.open("#/playground")
    chosen(page, "triage", "Final adapter")
    select(page, "#play-who", "quick · dry run")
    chosen(page, "quick · dry run", "Final adapter")
    ask(page)
    assert page.asked(CHAT)[0]["adapter"] == {"kind": "final", "jobId": "job_quick"}
    studio.answers[JOBS] = Answer({"jobs": [dry]})
    page.open("#/playground")
    chosen(page, BASE)
    studio.answers[MODELS] = Answer({"models": []})
    page.open("#/playground")
    page.the(".picker-note", "Choose who is to answer.")
    chosen(page, "Choose …")


def test_a_link_to_what_is_not_there(page: Page, studio: ScriptedStudio) -> None:
    """It says so, and another one can be chosen."""
    jobs = [job("support", "running"), job("triage"), job("gone", "failed")]
    studio.answers[JOBS] = Answer({"jobs": jobs})
    studio.answers["GET /api/jobs/job_gone/artifacts"] = artifacts(final=False)
    page.open("#/playground")
    for route, said in (
        ("job=job_x", "There is no job job_x in this project."),
        ("job=job_triage&step=30", "This job has no checkpoint at step 30."),
        ("job=job_support&step=30", "This job has no checkpoint at step 30 yet."),
        ("job=job_gone", "This job has left no adapter."),
    ):
        page.run("location.hash = arguments[0]", f"#/playground?{route}")
        page.the(".picker-note", said)
        assert not page.button("Send").is_enabled()
    select(page, "#play-who", "triage")
    chosen(page, "triage", "Final adapter")
    page.gone(".picker-note")


def test_a_backend_without_lists_can_still_be_asked(page: Page, studio: ScriptedStudio) -> None:
    """Checkpoints are known from the job's events, base models by their names; what is missing says why."""
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "features": [], "backend": None})
    events = [{"type": "checkpoint.saved", "step": 10}, {"type": "training.log", "step": 11}]
    studio.answers["GET /api/jobs/job_triage/metrics"] = Answer({"points": [], "lines": events, "ended": True})
    page.open("#/playground")
    chosen(page, "triage", "Final adapter")
    page.the("#play-version", "Final adapter\nCheckpoint at step 10")
    select(page, "#play-who", "Another model, by its name …")
    page.press("m", Keys.TAB)
    page.the(".picker-note", "This backend does not list its models. Type the name of one.")
    ask(page)
    assert page.asked(CHAT)[0]["baseModel"] == "m"


def test_a_backend_that_runs_no_models(page: Page, studio: ScriptedStudio) -> None:
    """A deep link leads to the reason and a way out; nothing can be sent."""
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "features": ["artifacts"]})
    page.open("#/playground")
    page.the(".welcome", "This backend does not run models")
    page.the(".welcome code", "arkor dev --local")
    page.the(".blocked", "This backend does not run models.")
    assert not page.the("#play-input").is_enabled()
    assert not page.button("Send").is_enabled()
    assert page.accessibility() == []


def test_nothing_to_talk_to_yet(page: Page, studio: ScriptedStudio) -> None:
    """Without a job and a model it says how to come by them; the first job that completes is chosen by itself."""
    studio.answers[JOBS] = Answer({"jobs": []})
    studio.answers[MODELS] = Answer({"models": [{"id": BASE, "ready": False}]})
    page.open("#/playground")
    page.the(".welcome", "Nothing to talk to yet")
    assert str(page.the(".welcome a", "Home").get_attribute("href")).endswith("#/")
    assert page.accessibility() == []
    studio.answers[JOBS] = Answer({"jobs": [job("triage")]})
    chosen(page, "triage", "Final adapter")
    page.the(".welcome", "Ask something.")


def test_a_schema_gives_the_answer_its_form(play: Page, studio: ScriptedStudio) -> None:
    """The answer is shown in lines, its values as they were said, and says that it is JSON."""
    play.click("#play-schema-on")
    play.the("#play-schema-note", "The schema is empty")
    play.click("button", "Example schema")
    play.the("#play-schema-note", "held to this schema")
    studio.answers[CHAT] = says('{"category": "technical", "urgent": true,', ' "n": 12345678901234567890, "x": {}}')
    ask(play)
    lines = '{\n  "category": "technical",\n  "urgent": true,\n  "n": 12345678901234567890,\n  "x": {}\n}'
    play.reads(".answer-text", lines)
    play.the(".mark", "valid JSON")
    form = play.asked(CHAT)[0]["responseFormat"]
    assert form["type"] == "json_schema"
    assert form["json_schema"]["name"] == "triage"
    assert form["json_schema"]["schema"]["required"] == ["category", "urgent"]
    studio.answers[CHAT] = Streamed(chunk('{"category":\n"te'), chunk(finish_reason="length"), DONE)
    ask(play)
    play.the(".answer-foot", "cut at max tokens")
    play.the(".mark-bad", "not JSON")
    play.the(".answer-foot", "Line 2: a text in quotes does not end")
    assert play.asked(CHAT)[1]["messages"][1]["content"].startswith('{"category": "technical", "urgent"')


def fill(page: Page, css: str, text: str) -> None:
    """Put a text into a field, as one that is pasted."""
    page.run(
        "const field = document.querySelector(arguments[0]); field.value = arguments[1];"
        "field.dispatchEvent(new Event('input'))",
        css,
        text,
    )


def test_a_schema_that_is_none_says_where(play: Page) -> None:
    """With its line; nothing is sent until it is mended or switched off."""
    play.click("#play-schema-on")
    for schema, said in (
        ('{\n "type": object\n}', "The schema is not JSON. Line 2: object does not belong here."),
        ('{\n "type": "object",\n}', "Line 3: } does not belong here."),
        ('{"type": "object"', "Line 1: the text ends before the JSON does."),
        ("[1]", "The schema has to be a JSON object."),
        ('{"name": "x", "schema": {}}', 'Only what stands below "schema" belongs here.'),
    ):
        fill(play, "#play-schema", schema)
        play.the("#play-schema-note.problem", said)
        play.the(".blocked", said)
        assert play.the("#play-schema").get_attribute("aria-invalid") == "true"
        assert not play.button("Send").is_enabled()
    play.click("#play-schema-on")
    assert play.button("Send").is_enabled()


def test_a_setting_out_of_its_range_says_so(play: Page, studio: ScriptedStudio) -> None:
    """Beside it; a question is not sent, and stays."""
    play.the("#play-input").send_keys("Hi?")
    for name, value, good, said in (
        ("temperature", "-1", "0", "Temperature has to be a number, 0 or more."),
        ("topP", "1.5", "1", "Top-p has to be a number above 0, at most 1."),
        ("maxTokens", "2.5", "", "Max tokens has to be a whole number, 1 or more."),
    ):
        fill(play, f"#play-{name}", value)
        play.the(f"#play-{name}-hint.problem", said)
        play.the("#play-input").send_keys(Keys.ENTER)
        play.reads("#announcer", said)
        assert play.the("#play-input").get_property("value") == "Hi?"
        fill(play, f"#play-{name}", good)
    assert studio.asked(CHAT) == []
    assert play.button("Send").is_enabled()


def test_nothing_that_is_said_is_markup(page: Page, studio: ScriptedStudio) -> None:
    """Neither questions nor answers, names, errors or a script."""
    page.meets_refusals = True
    studio.answers[JOBS] = Answer({"jobs": [{**job("triage"), "name": MARKUP, "config": {"model": MARKUP}}]})
    studio.answers[MODELS] = Answer({"models": [{"id": MARKUP, "ready": True}]})
    studio.answers[CHAT] = says(MARKUP)
    page.open("#/playground?job=job_triage&compare=1")
    page.the("#play-who", MARKUP)
    ask(page, MARKUP)
    page.reads(".answer-text", MARKUP)
    page.the(".answer-who", MARKUP)
    page.click("button", "Copy as Python")
    page.the(".script", MARKUP)
    page.click("button", "Close")
    studio.answers[CHAT] = Answer({"error": MARKUP}, 500)
    ask(page, MARKUP)
    page.the(".answer-error", MARKUP)
    assert page.run("return document.querySelectorAll('main img, main b').length") == 0


def test_enter_in_the_middle_of_a_word_that_is_composed_does_not_send(play: Page, studio: ScriptedStudio) -> None:
    """Whoever writes Japanese or Chinese confirms a word with Enter."""
    play.the("#play-input").send_keys("に")
    play.run("document.querySelector('#play-input').dispatchEvent("
             "new KeyboardEvent('keydown', {key: 'Enter', isComposing: true, bubbles: true}))")  # fmt: skip
    assert play.the("#play-input").get_property("value") == "に"
    assert studio.asked(CHAT) == []
    play.press(Keys.ENTER)
    play.asked(CHAT)


def test_clear_begins_anew(play: Page, studio: ScriptedStudio) -> None:
    """The conversation is gone, the settings stay; an answer that is being made ends."""
    play.the("#play-system").send_keys("Be brief.")
    answer = studio.answers[CHAT] = Streamed()
    ask(play)
    answer.say(chunk("x"))
    play.reads(".answer-text", "x")
    play.click("button", "Clear")
    play.gone(".turn")
    assert answer.left.wait(15)
    studio.answers[CHAT] = says("new")
    ask(play, "New?")
    play.reads(".answer-text", "new")
    assert [message["content"] for message in studio.asked(CHAT)[1]["messages"]] == ["Be brief.", "New?"]


def test_leaving_ends_an_answer_and_keeps_what_came(play: Page, studio: ScriptedStudio) -> None:
    """Nobody makes an answer for a page that nobody looks at."""
    answer = studio.answers[CHAT] = Streamed()
    ask(play)
    answer.say(chunk("so far"))
    play.reads(".answer-text", "so far")
    play.the("#play-input").send_keys("a draft")
    play.click("nav a", "Home")
    assert answer.left.wait(15)
    play.browser.back()
    play.reads(".answer-text", "so far")
    play.the(".mark", "stopped")
    assert play.the("#play-input").get_property("value") == "a draft"


def test_the_end_stays_in_sight_unless_one_reads_above(play: Page, studio: ScriptedStudio) -> None:
    """A long answer scrolls by itself; whoever scrolls up stays there."""
    answer = studio.answers[CHAT] = Streamed()
    ask(play)
    rest = (
        "return (box => box.scrollHeight - box.scrollTop - box.clientHeight)(document.querySelector('.conversation'))"
    )
    answer.say(*(chunk(f"line {number}\n") for number in range(200)))
    play.the(".answer-text", "line 199")
    eventually(lambda: play.run(rest) < 5, "the end in sight")
    play.run("document.querySelector('.conversation').scrollTop = 100")
    eventually(lambda: play.run(rest) > 1000, "far from the end")
    answer.say(*(chunk(f"more {number}\n") for number in range(50)), DONE)
    play.the(".answer[aria-busy=false]", "more 49")
    assert play.run("return document.querySelector('.conversation').scrollTop") == 100


def run_python(script: str, project: Path) -> str:
    """Run a script in a folder; return what it printed."""
    (project / "ask.py").write_text(script, encoding="utf-8")
    command = [sys.executable, "ask.py"]
    env = {**os.environ, "PYTHONWARNINGS": "error", "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(
        command, cwd=project, env=env, capture_output=True, encoding="utf-8", timeout=PYTHON_TIMEOUT_S, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_same_in_python(page: Page, studio: ScriptedStudio, routed_cloud: Cloud, project: Path) -> None:
    """The script that is copied asks the backend exactly what the page asked, and prints the answers."""
    grant = {"origin": studio.url, "permissions": ["clipboardReadWrite", "clipboardSanitizedWrite"]}
    page.browser.execute_cdp_cmd("Browser.grantPermissions", grant)
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "baseUrl": routed_cloud.url})
    page.open("#/playground?job=job_triage&step=20&compare=1")
    chosen(page, "triage", "Checkpoint at step 20")
    fill(page, "#play-system", 'Say "é" \\ \N{GRINNING FACE}\tand $x')
    fill(page, "#play-maxTokens", "5")
    page.click("#play-schema-on")
    page.click("button", "Example schema")
    studio.answers[CHAT] = says("old")
    ask(page, "First?")
    page.button("Retry")
    ask(page, "It's 'quoted' \"\"\" and\u2028more")
    page.asked(CHAT, 4)
    page.button("Retry")
    page.click("button", "Copy as Python")
    page.the(".script-dialog", "Copied.")
    assert page.accessibility() == []
    copied = str(page.browser.execute_async_script("navigator.clipboard.readText().then(arguments[0])"))
    page.press(Keys.ESCAPE)
    page.gone(".script-dialog")
    routed_cloud.says(*(Stream(frames=[chunk(f"answer {number} ö"), DONE]) for number in (1, 2)))
    assert run_python(copied, project) == "answer 1 ö\nanswer 2 ö\n"
    asked = [request.json() for request in routed_cloud.calls("POST", CLOUD_CHAT)]
    by_kind = sorted(studio.asked(CHAT)[2:], key=lambda body: "baseModel" in body)
    assert asked == by_kind
    assert json.dumps(by_kind[0]["maxTokens"]) == "5"


def test_a_script_for_ones_own_backend_finds_it_by_name(page: Page, studio: ScriptedStudio) -> None:
    """Its address changes with each start; the draft of the next question is what it asks."""
    studio.answers["GET /api/credentials"] = Answer({**ABOUT, "local": True})
    page.open(f"#/playground?model={BASE}")
    page.the("#play-input").send_keys("A draft")
    page.click("button", "Copy as Python")
    page.the(".script", 'client = CloudApiClient.connect("local")')
    page.the(".script", f'base_model="{BASE}"')
    page.the(".script", 'messages=[{"role": "user", "content": "A draft"}]')


def test_the_keyboard_reaches_everything(play: Page) -> None:
    """In the order that one sees."""
    play.run("document.querySelector('.backend summary').focus()")
    stops = []
    for _ in range(13):
        play.press(Keys.TAB)
        stops.append(play.run("return document.activeElement.id || document.activeElement.textContent"))
    assert [stop.removeprefix("play-") for stop in stops] == [
        *("Copy as Python", "who", "version", "compare", "Settings", "system", "temperature", "topP", "maxTokens"),
        *("schema-on", "", "input", "Send"),
    ]


@pytest.mark.parametrize("width", [360, 768, 1600])
def test_it_is_never_wider_than_its_window(page: Page, studio: ScriptedStudio, width: int) -> None:
    """Long names and words wrap or scroll in their boxes."""
    long = {**job("triage"), "name": "n" * 200, "config": {"model": "m" * 100}}
    studio.answers[JOBS] = Answer({"jobs": [long]})
    studio.answers[CHAT] = says("w" * 500)
    page.look(width, 800)
    page.open("#/playground?job=job_triage&compare=1")
    page.the("#play-who", "n" * 200)
    ask(page, "q" * 300)
    page.the(".answer[aria-busy=false]", "w" * 500)
    page.run("document.querySelector('.settings').open = true; document.querySelector('#play-schema-on').click()")
    fill(page, "#play-schema", "s" * 300)
    assert page.overflow() <= 0
    fill(page, "#play-schema", "{}")
    page.run("[...document.querySelectorAll('button')].find((one) => one.textContent === 'Copy as Python').click()")
    page.the(".script")
    assert page.overflow() <= 0


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_it_is_free_of_what_axe_finds(play: Page, studio: ScriptedStudio, scheme: str) -> None:
    """In light and in dark, with an answer of every kind."""
    play.meets_refusals = True
    play.look(1200, 800, scheme)
    play.click("#play-schema-on")
    play.click("button", "Example schema")
    play.click("#play-compare")
    reasoned = Streamed(chunk(delta={"reasoning_content": "why"}), chunk("so"), DONE)
    for answer in (reasoned, says('{"a": 1}'), says("no"), Answer({"error": "no"}, 503)):
        studio.answers[CHAT] = answer
        ask(play)
        play.button("Retry")
    play.the("#play-temperature").send_keys("-")
    play.the(".blocked")
    assert play.accessibility() == []

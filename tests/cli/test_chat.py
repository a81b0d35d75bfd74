"""``arkor chat`` as its users meet it, against the stand-in."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.cloud import Cloud
from tests.support.commands import TIMEOUT_S, run
from tests.support.contract import CHAT, COMPLETIONS, Answer, Stream
from tests.support.events import DONE, chunk
from tests.support.eventually import eventually
from tests.support.terminal import Terminal

HELLO = Stream(frames=[chunk("Hel"), chunk("lo"), chunk(finish_reason="stop"), DONE])


@pytest.fixture(autouse=True)
def _jobs(routed_cloud: Cloud) -> None:
    routed_cloud.jobs["job_1"] = {"id": "job_1", "status": "completed", "createdAt": "2026-01-02T00:00:00Z"}
    routed_cloud.jobs["job_2"] = {"id": "job_2", "status": "completed", "createdAt": "2026-01-01T00:00:00Z"}
    routed_cloud.jobs["job_3"] = {"id": "job_3", "status": "failed", "createdAt": "2026-01-03T00:00:00Z"}
    routed_cloud.jobs["job_1"]["completedAt"] = "2026-01-04T00:00:00Z"
    routed_cloud.jobs["job_2"]["completedAt"] = "2026-01-05T00:00:00Z"
    dry_run = {"status": "completed", "config": {"dryRun": True}, "completedAt": "2026-01-06T00:00:00Z"}
    routed_cloud.jobs["job_4"] = {"id": "job_4", "createdAt": "2026-01-05T00:00:00Z", **dry_run}


def sent(cloud: Cloud) -> dict[str, object]:
    """Return what the model was asked."""
    asked: dict[str, object] = cloud.calls("POST", CHAT)[-1].json()
    return asked


def piped(question: str, *arguments: str) -> str:
    """Return what is answered to a question on stdin."""
    done = subprocess.run(
        [sys.executable, "-m", "arkor.cli", "chat", *arguments],
        input=question,
        capture_output=True,
        text=True,
        env=dict(os.environ),
        timeout=TIMEOUT_S,
        check=True,
    )
    return done.stdout


def test_a_prompt_is_answered_once(routed_cloud: Cloud) -> None:
    """By the job that is named, after the system message."""
    routed_cloud.says(HELLO)
    ended = run("chat", "job_1", "hi there", "--system", "be brief", "--temperature", "0.5", "--max-tokens", "7")
    assert (ended.code, ended.out) == (0, "Hello\n")
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_1"}
    assert (sent(routed_cloud)["temperature"], sent(routed_cloud)["maxTokens"]) == (0.5, 7)
    assert sent(routed_cloud)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "hi there"},
    ]


def test_a_seed_is_passed_on(routed_cloud: Cloud) -> None:
    """0 and negative ones too; one that is too large is refused."""
    routed_cloud.says(HELLO, HELLO)
    for seed in (0, -7):
        assert run("chat", "job_1", "hi", "--temperature", "1", "--seed", str(seed)).code == 0
        assert (sent(routed_cloud)["temperature"], sent(routed_cloud)["seed"]) == (1.0, seed)
    refused = run("chat", "job_1", "hi", "--seed", str(2**64))
    assert (refused.code, refused.out) == (2, "")
    assert "seed: must be a whole number from -2**63 to 2**64 - 1, not 18446744073709551616" in refused.err


def test_a_checkpoint_and_a_model_can_be_named(routed_cloud: Cloud) -> None:
    """``--step`` of a job; what is no job is a model."""
    routed_cloud.says(HELLO, HELLO)
    assert run("chat", "job_1", "hi", "--step", "30").code == 0
    assert sent(routed_cloud)["adapter"] == {"kind": "checkpoint", "jobId": "job_1", "step": 30}
    assert run("chat", "smollm2-135m", "hi").code == 0
    assert sent(routed_cloud)["baseModel"] == "smollm2-135m"


def test_a_job_may_be_named_by_the_beginning_of_its_id(routed_cloud: Cloud) -> None:
    """Which must be the only one."""
    routed_cloud.jobs["abc_1"] = {**routed_cloud.jobs.pop("job_1"), "id": "abc_1"}
    routed_cloud.says(HELLO)
    assert run("chat", "ab", "hi").code == 0
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "abc_1"}
    ambiguous = run("chat", "job_", "hi")
    assert (ambiguous.code, ambiguous.out) == (2, "")
    assert "3 ids begin with 'job_', type more of the one you mean: job_2, job_3, job_4" in ambiguous.err


def test_the_question_may_come_on_stdin_and_the_last_completed_job_answers(routed_cloud: Cloud) -> None:
    """A job that completed earlier does not count, though it was created later, nor one that failed, nor a dry run."""
    routed_cloud.says(HELLO)
    assert piped("from a pipe\n") == "Hello\n"
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_2"}
    assert sent(routed_cloud)["messages"] == [{"role": "user", "content": "from a pipe"}]


def test_without_a_question_nothing_is_asked(routed_cloud: Cloud) -> None:
    """As from cron, where nobody types: an empty question would be answered with anything."""
    ended = run("chat", "job_1")
    assert (ended.code, ended.out) == (2, "")
    assert "There is no question: pass a QUESTION, or a text on stdin." in ended.err
    assert routed_cloud.calls("POST", CHAT) == []


def test_a_question_alone_goes_to_the_last_completed_job(routed_cloud: Cloud) -> None:
    """A text with a blank in it; a slash does not make it a model, and stdin is not read."""
    routed_cloud.says(HELLO, HELLO)
    ended = run("chat", "Is it a lamp and/or a light?", "--system", "be brief")
    assert (ended.code, ended.out) == (0, "Hello\n")
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_2"}
    assert sent(routed_cloud)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "Is it a lamp and/or a light?"},
    ]
    assert run("chat", "two words", "--step", "30").code == 0
    assert sent(routed_cloud)["adapter"] == {"kind": "checkpoint", "jobId": "job_2", "step": 30}


def test_a_folder_with_a_blank_in_its_name_is_a_model(routed_cloud: Cloud, project: Path) -> None:
    """A path wins over a question; the backend gets it absolute, since it has another working directory."""
    (project / "my model").mkdir()
    routed_cloud.says(HELLO)
    with Terminal("chat", "./my model") as terminal:
        terminal.expect("Base model ./my model answers.")
        terminal.type("hi")
        terminal.expect("Hello")
        terminal.type("/quit")
        assert terminal.end()[0] == 0
    assert sent(routed_cloud)["baseModel"] == str(project / "my model")


def test_one_unknown_word_is_an_error_that_says_both_ways(routed_cloud: Cloud) -> None:
    """If the backend lists its models, and the word is not among them; a model in the list is one."""
    routed_cloud.features = {"models"}
    routed_cloud.answer("GET", "/v1/models", *[Answer(body={"models": [{"id": "tiny", "ready": True}]})] * 2)
    with Terminal("chat", "lamp?") as terminal:
        code, seen = terminal.end()
    assert code == 2
    assert "'lamp?' is neither a job of this project nor a model." in seen
    assert "with a model, its name ('arkor models list'), its id (owner/name) or its folder (./name)." in seen
    assert "To ask a question of one word, name the job too: arkor chat JOB 'lamp?'" in seen
    with Terminal("chat", "tiny") as terminal:
        terminal.expect("Base model tiny answers.")
    routed_cloud.answer("GET", "/v1/models", Answer(body={"models": []}))
    ended = run("chat", "nojob", "hello")
    assert ended.code == 2
    assert ended.err.endswith("or its folder (./name).\n")
    assert routed_cloud.calls("POST", CHAT) == []


def test_no_terminal_obeys_an_answer(routed_cloud: Cloud) -> None:
    """A model may say anything; a pipe gets all of it."""
    said = Stream(frames=[chunk("Hi\x1b]0;mine\x07\u200d\n"), chunk("\x9b2Jthere\t!"), DONE])
    routed_cloud.says(said, said)
    with Terminal("chat", "job_1", "hi", term="xterm") as terminal:
        assert terminal.end() == (0, "Hi]0;mine\u200d\n2Jthere\t!\n")
    assert run("chat", "job_1", "hi").out == "Hi\x1b]0;mine\x07\u200d\n\x9b2Jthere\t!\n"


def test_reasoning_is_dimmed_above_the_answer_on_a_terminal_alone(
    routed_cloud: Cloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A pipe gets the answer. NO_COLOR leaves the label."""
    reasoning = [chunk(delta={"reasoning_content": piece}) for piece in ("wh", "\x1by")]
    monkeypatch.delenv("NO_COLOR", raising=False)
    routed_cloud.says(*[Stream(frames=[*reasoning, chunk("So"), DONE])] * 3)
    assert run("chat", "job_1", "hi").out == "So\n"
    with Terminal("chat", "job_1", "hi", term="xterm") as terminal:
        assert terminal.end() == (0, "\x1b[2mReasoning: wh\x1b[0m\x1b[2my\x1b[0m\n\nSo\n")
    monkeypatch.setenv("NO_COLOR", "1")
    with Terminal("chat", "job_1", "hi", term="xterm") as terminal:
        assert terminal.end() == (0, "Reasoning: why\n\nSo\n")


def test_the_raw_body_is_printed_on_request(routed_cloud: Cloud) -> None:
    """``--json``: one object, not streamed."""
    body = {"choices": [{"message": {"content": "Hello"}}]}
    routed_cloud.says(Answer(body=body))
    ended = run("chat", "job_1", "hi", "--json")
    assert json.loads(ended.out) == body
    assert sent(routed_cloud)["stream"] is False


def test_a_cut_answer_is_an_error(routed_cloud: Cloud) -> None:
    """Exit code 3 after what had arrived."""
    routed_cloud.says(Stream(frames=[chunk("Hel")]))
    ended = run("chat", "job_1", "hi")
    assert (ended.code, ended.out.strip()) == (3, "Hel")
    assert "cut in the middle" in ended.err


# A conversation


def contents(cloud: Cloud) -> list[object]:
    """Return what the last request's messages say, in order."""
    messages = sent(cloud)["messages"]
    assert isinstance(messages, list)
    return [message["content"] for message in messages]


@pytest.fixture
def terminal(routed_cloud: Cloud) -> Iterator[Terminal]:
    """A conversation with a job that knows its base model."""
    routed_cloud.jobs["job_1"] |= {"name": "lamp-bot", "config": {"model": "tiny"}}
    with Terminal("chat", "job_1", "--system", "be brief") as running:
        running.expect("\n> ")
        yield running


def say(terminal: Terminal, line: str, answer: str) -> None:
    """Type a line, and wait for what it is answered with and for the next prompt."""
    terminal.seen = ""
    terminal.type(line)
    terminal.expect(answer)
    terminal.expect("\n> ")


def test_the_first_line_says_who_answers_and_how_to_leave(terminal: Terminal) -> None:
    """Ctrl-D leaves in good order."""
    assert (
        terminal.seen
        == "Adapter of job job_1 (lamp-bot) answers. /help lists the commands; /quit or Ctrl-D leaves.\n> "
    )
    terminal.press("\x04")
    assert terminal.end()[0] == 0


def test_a_conversation_remembers_until_it_is_reset(terminal: Terminal, routed_cloud: Cloud) -> None:
    """The system message stays."""
    routed_cloud.says(HELLO, HELLO, HELLO)
    say(terminal, "one", "Hello")
    say(terminal, "two", "Hello")
    assert contents(routed_cloud) == ["be brief", "one", "Hello", "two"]
    say(terminal, "/reset", "The conversation is forgotten; the system message stays.")
    say(terminal, "three", "Hello")
    assert contents(routed_cloud) == ["be brief", "three"]
    terminal.type("/quit")
    assert terminal.end()[0] == 0


def test_a_conversation_sends_reasoning_back(terminal: Terminal, routed_cloud: Cloud) -> None:
    """Beside the answer, for the chat template to use. An answer that is all reasoning stays, too."""
    reasoning = chunk(delta={"reasoning_content": "why"})
    routed_cloud.says(Stream(frames=[reasoning, chunk("So"), DONE]), Stream(frames=[reasoning, DONE]), HELLO)
    say(terminal, "one", "So")
    say(terminal, "two", "Reasoning: why")
    say(terminal, "three", "Hello")
    assert sent(routed_cloud)["messages"] == [
        {"role": "system", "content": "be brief"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "So", "reasoning_content": "why"},
        {"role": "user", "content": "two"},
        {"role": "assistant", "content": "", "reasoning_content": "why"},
        {"role": "user", "content": "three"},
    ]


def test_the_system_message_can_be_seen_and_changed(terminal: Terminal, routed_cloud: Cloud) -> None:
    """From the next message on."""
    routed_cloud.says(HELLO)
    say(terminal, "/system", "System message: be brief")
    say(terminal, "/system answer in  verse", "System message: answer in  verse")
    say(terminal, "one", "Hello")
    assert contents(routed_cloud) == ["answer in  verse", "one"]


def test_the_base_model_can_answer_instead(terminal: Terminal, routed_cloud: Cloud) -> None:
    """And the adapter again, in the same conversation."""
    routed_cloud.says(HELLO, HELLO)
    say(terminal, "/base", "Base model tiny answers.")
    say(terminal, "one", "Hello")
    assert (sent(routed_cloud)["baseModel"], "adapter" in sent(routed_cloud)) == ("tiny", False)
    say(terminal, "/base", "Adapter of job job_1 (lamp-bot) answers.")
    say(terminal, "two", "Hello")
    assert sent(routed_cloud)["adapter"] == {"kind": "final", "jobId": "job_1"}
    assert contents(routed_cloud) == ["be brief", "one", "Hello", "two"]


def test_a_model_without_an_adapter_has_no_other_to_switch_to(routed_cloud: Cloud) -> None:
    """It says so."""
    with Terminal("chat", "owner/name") as running:
        running.expect("\n> ")
        say(running, "/base", "Base model owner/name is the only model here")
    assert routed_cloud.calls("POST", CHAT) == []


def test_an_unknown_slash_command_is_named_and_not_sent(terminal: Terminal, routed_cloud: Cloud) -> None:
    """A message that begins with a slash is sent after a blank."""
    say(
        terminal,
        "/sytem be rude",
        "There is no command /sytem. Did you mean /system? /help lists the commands. Nothing was sent.",
    )
    say(terminal, "/help", "/system TEXT  set the system message")
    assert routed_cloud.calls("POST", CHAT) == []
    routed_cloud.says(HELLO)
    say(terminal, " /etc/hosts is what?", "Hello")
    assert contents(routed_cloud) == ["be brief", "/etc/hosts is what?"]


def test_ctrl_c_stops_the_answer_and_the_conversation_goes_on(terminal: Terminal, routed_cloud: Cloud) -> None:
    """The model knows what was printed. A message without any answer is forgotten."""
    gate = threading.Event()
    routed_cloud.says(Stream(frames=[chunk("Once upon")], gate=gate), Answer(gate=gate), HELLO)
    terminal.type("a story")
    terminal.expect("Once upon")
    terminal.interrupt()
    terminal.expect("\n(stopped)\n> ")
    terminal.type("too slow")
    eventually(lambda: len(routed_cloud.calls("POST", CHAT)) == 2, "it is asked")
    terminal.interrupt()
    terminal.expect("too slow\n\n(stopped)\n> ")
    gate.set()
    say(terminal, "go on", "Hello")
    assert contents(routed_cloud) == ["be brief", "a story", "Once upon", "go on"]


def test_ctrl_c_at_an_empty_prompt_leaves(terminal: Terminal) -> None:
    """One that discards a line that was begun does not; exit code 130."""
    pytest.importorskip("readline")
    terminal.press("never mi")
    terminal.expect("never mi")
    terminal.interrupt()
    terminal.expect("never mi\n> ")
    terminal.interrupt()
    code, seen = terminal.end()
    assert code == 130
    assert seen.endswith("\n> \nInterrupted.\n")


def test_a_refused_message_is_an_error_and_the_conversation_goes_on(terminal: Terminal, routed_cloud: Cloud) -> None:
    """The message is not part of it."""
    routed_cloud.says(Answer(status=400, body={"error": "too long"}), Stream(frames=[chunk("Hel")]), HELLO)
    say(terminal, "one", "Error: too long")
    say(terminal, "two", "Hel\nError: The answer was cut in the middle")
    say(terminal, "three", "Hello")
    assert contents(routed_cloud) == ["be brief", "three"]


def test_the_arrow_key_brings_a_message_back(terminal: Terminal, routed_cloud: Cloud) -> None:
    """If Python has readline."""
    pytest.importorskip("readline")
    routed_cloud.says(HELLO, HELLO)
    say(terminal, "one", "Hello")
    terminal.press("\x10")  # Ctrl-P, as the arrow key
    terminal.expect("> one")
    say(terminal, " more", "Hello")
    assert contents(routed_cloud)[-1] == "one more"


def test_a_question_may_start_with_a_tilde(routed_cloud: Cloud) -> None:
    """It names no user's folder."""
    routed_cloud.says(HELLO)
    assert run("chat", "smollm2-135m", "~5 eggs, please").out == "Hello\n"
    routed_cloud.jobs["job_1"] = {"id": "job_1", "name": "run", "status": "completed"}
    routed_cloud.says(HELLO)
    assert run("chat", "~5 eggs, please").out == "Hello\n"


def test_json_needs_a_question(routed_cloud: Cloud) -> None:
    """A conversation has no one body."""
    with Terminal("chat", "job_1", "--json") as running:
        code, seen = running.end()
    assert (code, "--json needs a QUESTION." in seen) == (2, True)
    assert routed_cloud.calls("POST", CHAT) == []


def _raw(cloud: Cloud, *texts: str) -> None:
    """Let job 1 be one that learnt plain text."""
    cloud.jobs["job_1"]["promptForm"] = "raw"
    cloud.features = {"completions"}
    cloud.continues(*texts)


def test_a_job_that_learnt_plain_text_is_asked_so(routed_cloud: Cloud) -> None:
    """By itself; ``--no-raw`` chats. A text on stdin keeps its line breaks."""
    _raw(routed_cloud, " b", " c")
    ended = run("chat", "job_1", "a text")
    assert (ended.code, ended.out) == (0, " b\n")
    assert piped("Q\nA:\n", "job_1") == " c\n"
    first, second = (call.json() for call in routed_cloud.calls("POST", COMPLETIONS))
    assert (first["prompt"], first["adapter"]) == ("a text", {"kind": "final", "jobId": "job_1"})
    assert second["prompt"] == "Q\nA:\n"
    assert "messages" not in first
    routed_cloud.says(HELLO)
    assert run("chat", "job_1", "hi", "--no-raw").out == "Hello\n"
    assert sent(routed_cloud)["messages"] == [{"role": "user", "content": "hi"}]


def test_any_model_continues_a_text_where_that_is_asked_for(routed_cloud: Cloud) -> None:
    """``--raw``; a system message has no place there, and a backend that can only chat says so."""
    _raw(routed_cloud, " b")
    assert run("chat", "smollm2-135m", "a text", "--raw").out == " b\n"
    refused = run("chat", "job_2", "a text", "--raw", "--system", "be brief")
    assert (refused.code, refused.out) == (2, "")
    assert "has no system message" in refused.err
    routed_cloud.features = set()
    refused = run("chat", "job_2", "a text", "--raw")
    assert refused.code != 0
    assert "going on with a text" in refused.err


def test_a_conversation_with_plain_text_has_no_memory(routed_cloud: Cloud) -> None:
    """Each line is a text of its own; /system says that there is none."""
    _raw(routed_cloud, " b", " d")
    with Terminal("chat", "job_1") as terminal:
        terminal.expect("continues each line as plain text")
        terminal.type("a")
        terminal.expect(" b")
        terminal.type("/system x")
        terminal.expect("A plain text has no system message")
        terminal.type("c")
        terminal.expect(" d")
        terminal.type("/quit")
        assert terminal.end()[0] == 0
    assert [call.json()["prompt"] for call in routed_cloud.calls("POST", COMPLETIONS)] == ["a", "c"]

"""Asking the server: many at a time, in the order of their length, and never twice."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from arkor.backend.task_worker.server_line import Asked, KeptAnswers, ServerLine, ask_all
from arkor.serving.refusal import Refusal

ASKED = [Asked(f"row {number}", "base", {"prompt": str(number)}, size=9 - number) for number in range(4)]


class Server:
    """Replies at once to what is asked; a question of a row in ``errors`` with that status."""

    def __init__(self, **errors: int) -> None:
        self.heard: list[str] = []
        self.errors = errors
        self.line = ServerLine(self.take)

    def take(self, **said: Any) -> None:
        """Hear a question, and reply."""
        asked = said["request"]["prompt"]
        self.heard.append(asked)
        reply: dict[str, Any] = {"answer": {"text": f"answer {asked}"}}
        if asked in self.errors:
            reply = {"error": {"status": self.errors[asked], "message": "no"}}
        self.line.hear([{"reply": said["ask"], **reply}])


def asked_of(server: Server, file: Path, steps: list[int] | None = None) -> dict[str, Any]:
    """Ask everything, and return the answers."""
    kept = KeptAnswers(file)
    try:
        return dict(ask_all(server.line, ASKED, kept, ([] if steps is None else steps).append))
    finally:
        kept.close()


def test_questions_of_like_length_are_asked_together(tmp_path: Path) -> None:
    """The short ones first; each answer is counted."""
    server = Server()
    steps: list[int] = []
    found = asked_of(server, tmp_path / "answers", steps)
    assert server.heard == ["3", "2", "1", "0"]
    assert found["row 1"] == {"answer": {"text": "answer 1"}}
    assert steps == [0, 1, 2, 3, 4]


def test_an_answer_is_kept_and_not_asked_for_again(tmp_path: Path) -> None:
    """Also if a kill cut the last line."""
    file = tmp_path / "answers"
    whole = asked_of(Server(), file)
    file.write_bytes(file.read_bytes()[:-5])
    server = Server()
    steps: list[int] = []
    assert asked_of(server, file, steps) == whole
    assert (server.heard, steps) == (["0"], [3, 4])
    assert [json.loads(line)["key"] for line in file.read_text().splitlines()] == ["row 3", "row 2", "row 1", "row 0"]
    assert file.stat().st_mode & 0o777 == 0o600


def test_a_question_that_is_refused_is_an_answer(tmp_path: Path) -> None:
    """The others are asked."""
    found = asked_of(Server(**{"2": 400}), tmp_path / "answers")
    assert found["row 2"] == {"refused": "no"}
    assert len(found) == 4


def test_a_model_that_fails_ends_it(tmp_path: Path) -> None:
    """What was answered before is kept."""
    with pytest.raises(Refusal, match="no"):
        asked_of(Server(**{"1": 503}), tmp_path / "answers")
    assert [json.loads(line)["key"] for line in (tmp_path / "answers").read_text().splitlines()] == ["row 3", "row 2"]

"""Samples: what the model answers to the same prompts before, during and after its training.

Protocol: docs/protocol.md, "Samples".
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from arkor.backend.training_worker.answers import Answerer, Question
from arkor.backend.training_worker.reporter import Reporter
from arkor.backend.training_worker.rows.asked import room
from arkor.backend.training_worker.rows.load import Rows
from arkor.backend.training_worker.sample_prompts import Asked, prompts_of
from arkor.backend.training_worker.team import Team
from arkor.errors import ConfigError
from arkor.protocol.config import JobConfig
from arkor.serving.refusal import Refusal

log = logging.getLogger("arkor.worker")

LONGEST_TOKENS = 256  # of an answer
TIMES = 1.25  # as long as the longest expected answer: the base model seldom ends by itself
_FILE = "samples.json"  # in a checkpoint's folder


class Budget:
    """Says whether answers fit into their share of a training's time, all attempts together.

    Args:
        share: the most that all answers may take, above 0, at most 1, which is no limit.
        clock: returns seconds that only grow.
    """

    def __init__(self, share: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._share = share
        self._clock = clock
        self._began = clock()
        self._trained_s = self._asked_s = self._asked_since_s = self._round_s = 0.0

    def begin(self) -> None:
        """Take in that the training begins, or goes on."""
        self._began, self._asked_since_s = self._clock(), 0.0

    def spend(self, seconds: float) -> None:
        """Take in how long a round of answers took."""
        self._asked_s += seconds
        self._asked_since_s += seconds
        self._round_s = seconds

    def allows(self, step: int, last_step: int) -> bool:
        """Whether there is time for a round of answers after a step, and for the one after the last step.

        Args:
            step: optimizer steps done, at least 1.
            last_step: of the training.
        """
        whole_s = self._so_far_s() * last_step / step
        return self._share == 1 or self._asked_s + 2 * self._round_s <= self._share * whole_s

    def kept(self) -> dict[str, float]:
        """Return what a later attempt has to know."""
        return {"trained": self._so_far_s(), "asked": self._asked_s, "round": self._round_s}

    def go_on(self, kept: Mapping[str, float]) -> None:
        """Take in what an earlier attempt has kept."""
        self._trained_s, self._asked_s, self._round_s = kept["trained"], kept["asked"], kept["round"]

    def _so_far_s(self) -> float:
        """Return how long the training took so far, without the answers."""
        return self._trained_s + self._clock() - self._began - self._asked_since_s


class Samples:
    """The samples of an attempt, as the process that reports has them.

    Args:
        prompts: what is asked, each with its question.
        answerer: asks the model.
        reporter: where events go.
        budget: says whether there is time.
    """

    def __init__(
        self, prompts: Sequence[tuple[Asked, Question]], answerer: Answerer, reporter: Reporter, budget: Budget
    ) -> None:
        self._prompts = [asked for asked, _ in prompts]
        self._questions = [question for _, question in prompts]
        self._answerer = answerer
        self._reporter = reporter
        self.budget = budget
        self._made: dict[int, list[dict[str, Any]]] = {}  # the events of each step

    @classmethod
    def of(
        cls,
        config: JobConfig,
        answerer: Answerer,
        tokenizer: Any,
        rows: Callable[[], Rows],
        reporter: Reporter,
        *,
        is_raw: bool,
    ) -> Samples | None:
        """Return the samples of a job; None if it asks nothing.

        Args:
            config: the job's settings.
            answerer: asks the model.
            tokenizer: the model's.
            rows: returns the job's rows.
            reporter: where events go.
            is_raw: whether the training sees plain text.

        Raises:
            ConfigError: there are no held-out rows that can be asked, or a prompt cannot.
        """
        if config.sample_prompts is None:
            return None
        prompts = prompts_of(config, rows, answerer.tool_style, is_raw=is_raw)
        most = config.sample_prompts if isinstance(config.sample_prompts, int) else len(prompts)
        budget = Budget(config.value("sample_budget"))
        return cls(_askable(prompts, most, answerer, tokenizer), answerer, reporter, budget)

    def ask(self, step: int, last_step: int) -> float:
        """Have the prompts answered by the model as it is now, and tell the answers; not if that is done, or too long.

        Args:
            step: optimizer steps done.
            last_step: of the training.

        Returns:
            How long it took, in seconds.

        Raises:
            Interrupted: a stop was asked for; nothing of this round was told.
        """
        if step in self._made:
            return 0.0
        if 0 < step < last_step and not self.budget.allows(step, last_step):
            log.info("No samples at step %d: they would take more time than sample_budget allows", step)
            return 0.0
        began = time.monotonic()
        answers = self._answerer.answers(self._questions)
        seconds = time.monotonic() - began
        self.budget.spend(seconds)
        log.info("%d samples at step %d took %.2f s", len(answers), step, seconds)
        self._made[step] = [
            asked.event(number, step, answer)
            for number, (asked, answer) in enumerate(zip(self._prompts, answers, strict=True))
        ]
        for event in self._made[step]:
            self._reporter.send("sample.made", **event)
        return seconds

    def keep(self, checkpoint: Path) -> None:
        """Keep the samples so far with a checkpoint.

        Args:
            checkpoint: its folder, which is not marked as whole yet.

        Raises:
            OSError: the disk is full.
        """
        answers = [
            {name: event[name] for name in event.keys() - {"prompt", "expected", "row"}} for event in self._all()
        ]
        (checkpoint / _FILE).write_text(json.dumps({"seconds": self.budget.kept(), "made": answers}))

    def go_on(self, checkpoint: Path) -> None:
        """Take in the samples that are kept with the checkpoint to go on from."""
        file = checkpoint / _FILE
        if not file.exists():  # nothing was asked up to there
            return
        kept = json.loads(file.read_text())
        self.budget.go_on(kept["seconds"])
        for event in kept["made"]:
            asked = self._prompts[event["sample"]]
            row = {} if asked.row is None else {"row": asked.row.number, "expected": asked.expected()}
            self._made.setdefault(event["step"], []).append({**event, "prompt": asked.prompt, **row})

    def told(self, after: int) -> list[tuple[int, str, dict[str, Any]]]:
        """Return the events so far, to be told again: each with its step and its type.

        Args:
            after: of steps after this one.
        """
        return [(event["step"], "sample.made", event) for event in self._all() if event["step"] > after]

    def _all(self) -> list[dict[str, Any]]:
        return [event for step in sorted(self._made) for event in self._made[step]]


class Sampling:
    """Asks at the right steps. Each process of an attempt has one and asks it at the same steps; the first one answers.

    Args:
        config: the job's settings.
        team: the processes.
        samples: those of the first process; None in the others, and if nothing is asked.
    """

    def __init__(self, config: JobConfig, team: Team, samples: Samples | None = None) -> None:
        self._every = None if config.sample_prompts is None else config.save_steps or config.eval_steps
        self._team = team
        self._samples = samples

    def begin(self) -> None:
        """Take in that the training begins, or goes on."""
        if self._samples is not None:
            self._samples.budget.begin()

    def ask(self, step: int, last_step: int) -> float:
        """Ask if it is time to: at the steps that are due, and at the last one.

        Returns:
            How long it took, in seconds.

        Raises:
            Interrupted: a stop was asked for.
        """
        if self._every is None or (step % self._every and step < last_step):
            return 0.0
        return self._team.measured(lambda: 0.0 if self._samples is None else self._samples.ask(step, last_step))

    def keep(self, checkpoint: Path) -> None:
        """Keep the samples so far with a checkpoint; see ``Samples.keep``."""
        if self._samples is not None:
            self._samples.keep(checkpoint)

    def go_on(self, checkpoint: Path | None) -> None:
        """Take in the samples of the checkpoint to go on from; None for one that begins anew."""
        if self._samples is not None and checkpoint is not None:
            self._samples.go_on(checkpoint)

    def told(self, after: int) -> list[tuple[int, str, dict[str, Any]]]:
        """Return the events so far; see ``Samples.told``."""
        return [] if self._samples is None else self._samples.told(after)


def _askable(prompts: Sequence[Asked], most: int, answerer: Answerer, tokenizer: Any) -> list[tuple[Asked, Question]]:
    """Return at most so many prompts with their questions, without held-out rows that the model cannot be asked."""
    found, refused = list[Asked](), ""
    for number, asked in enumerate(prompts, 1):
        if len(found) == most:
            break
        try:
            answerer.question({**asked.fields, "maxTokens": 1})
        except Refusal as exc:
            if asked.row is None:
                raise ConfigError("sample_prompts", f"prompt {number} cannot be asked: {exc.error}") from exc
            refused = exc.error
        else:
            found.append(asked)
    if not found:
        raise ConfigError("sample_prompts", f"none of the held-out rows can be asked, for example: {refused}")
    rows = [asked.row for asked in found if asked.row is not None]
    longest = room(tokenizer, rows, TIMES, LONGEST_TOKENS) if rows else LONGEST_TOKENS
    found.sort(
        key=lambda asked: 0 if asked.row is None else asked.row.number
    )  # stable: given prompts stay in their order
    return [(asked, answerer.question({**asked.fields, "maxTokens": longest})) for asked in found]

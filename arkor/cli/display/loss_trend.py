"""How the loss of a run went, in plain words."""

from __future__ import annotations

from arkor.protocol.events import Event, TrainingLogEvent

FELL = 0.95  # of the loss at the beginning, at most: less is noise
ROSE = 1.25  # of the lowest loss on held-out rows, at least: with a little more, answers still got better when measured
_ADVICE = "The model learned little: look at the rows with 'arkor dataset show', or try more --epochs."


class LossTrend:
    """Takes the events of a run, and says at its end whether the loss fell.

    Thread-safety: one thread at a time.
    """

    def __init__(self) -> None:
        self._losses: list[float] = []
        self._held_out: dict[int, float] = {}

    def take(self, event: Event) -> None:
        """Take in what an event says."""
        if isinstance(event, TrainingLogEvent):
            if event.loss is not None:
                self._losses.append(event.loss)
            if event.eval_loss is not None:
                self._held_out[event.step] = event.eval_loss

    def lines(self) -> list[str]:
        """Return a sentence about the rows that were trained on, and one about those held out; none without figures.

        The loss at the beginning, and at the end, is the mean of a tenth of all log events.
        """
        return [text for text, _ in self._told()]

    def warnings(self) -> list[str]:
        """Return only those sentences of ``lines`` that tell of something to change."""
        return [text for text, is_good in self._told() if not is_good]

    def _told(self) -> list[tuple[str, bool]]:
        """Return each sentence, and whether it is good news."""
        return [*self._trained(), *self._evaluated()]

    def _trained(self) -> list[tuple[str, bool]]:
        if len(self._losses) < 2:
            return []
        part = max(1, len(self._losses) // 10)
        first, last = (sum(losses) / part for losses in (self._losses[:part], self._losses[-part:]))
        if last <= first * FELL:
            return [(f"The loss fell from {first:.2f} to {last:.2f}.", True)]
        return [(f"The loss did not fall: {first:.2f} at the beginning, {last:.2f} at the end. {_ADVICE}", False)]

    def _evaluated(self) -> list[tuple[str, bool]]:
        if not self._held_out:
            return []
        best, (_, last) = min(self._held_out, key=self._held_out.__getitem__), [*self._held_out.items()][-1]
        lowest = self._held_out[best]
        if last < lowest * ROSE:
            return [(f"On held-out rows it is {last:.2f}.", True)]
        rise = f"On held-out rows it was {lowest:.2f} at step {best} and rose to {last:.2f}"
        return [(f"{rise}: fewer --steps may answer new questions better.", False)]

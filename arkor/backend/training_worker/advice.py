"""What a job's settings will hardly do, said before hours are spent on it.

docs/training.md, "Steps, batch size and learning rate", has the measurements.
"""

from __future__ import annotations

from arkor.protocol.config import SMALL_MODEL, JobConfig
from arkor.text import many

LEAST_PROGRESS = 0.05  # steps times learning rate; small models that were given less learned few of their rows


def advice(config: JobConfig, *, steps: int, examples: int, parameters: int) -> list[str]:
    """Return sentences for the user, without their full stops; none for a dry run.

    Args:
        config: the job's settings.
        steps: optimizer steps that it does.
        examples: how many examples it trains on.
        parameters: how many numbers the base model has.
    """
    if config.dry_run:
        return []
    rows_a_step = config.value("batch_size") * config.value("gradient_accumulation_steps")
    found = []
    if steps * rows_a_step < examples:
        found.append(
            f"in {many(steps, 'step')} of {many(rows_a_step, 'row')} the model sees {steps * rows_a_step:,} of "
            f"{examples:,} examples: {-(-examples // rows_a_step):,} steps show all of them once"
        )
    rate = config.value("learning_rate")
    if parameters <= SMALL_MODEL and steps * rate < LEAST_PROGRESS:
        size = f"a model of {round(parameters / 1e6):,} million parameters"
        found.append(
            f"learning_rate {rate:g} over {many(steps, 'step')} is little for {size}: with steps times rate below "
            f"{LEAST_PROGRESS:g}, such a model learned few of its rows when measured. Raise one of the two"
        )
    return found

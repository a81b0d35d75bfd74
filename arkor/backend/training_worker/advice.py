"""What a job's settings will hardly do, said before hours are spent on it.

docs/training.md, "Steps, batch size and learning rate", and docs/choosing-settings.md have the measurements.
"""

from __future__ import annotations

from arkor.protocol.config import SMALL_MODEL, JobConfig
from arkor.text import many

MOST_OF_MODEL = 0.3  # numbers of an adapter, as a share of the model's
MOST_A_TOKEN = 1000  # numbers of an adapter for each token that counts
LEAST_PROGRESS = 0.05  # steps times learning rate; small models that were given less learned few of their rows


def advice(
    config: JobConfig, *, steps: int, examples: int, counted_tokens: int, parameters: int, adapter: int
) -> list[str]:
    """Return sentences for the user, without their full stops; none for a dry run.

    Args:
        config: the job's settings.
        steps: optimizer steps that it does.
        examples: how many examples it trains on.
        counted_tokens: how many tokens of them the loss counts.
        parameters: how many numbers the base model has.
        adapter: how many numbers the adapter has, without modules that are trained whole.
    """
    if config.dry_run:
        return []
    rows_a_step = config.value("batch_size") * config.value("gradient_accumulation_steps") * config.value("devices")
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
    if adapter > MOST_OF_MODEL * parameters and adapter > MOST_A_TOKEN * counted_tokens:
        found.append(
            f"rank {config.value('lora_r')} is large for this model and {many(counted_tokens, 'token')} to learn: the "
            f"adapter has {adapter / parameters:.0%} as many numbers as the model. When measured, a quarter of such a "
            "rank learned nearly as much, with a quarter of the memory"
        )
    return found

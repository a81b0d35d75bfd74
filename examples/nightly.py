"""Train again every night, on the rows as they are that night.

    0 3 * * *   cd /srv/bot && ARKOR_CLOUD_API_URL=local .venv/bin/python nightly.py     # a line of a crontab

The date is in the job's name. All else is in the folder ``nightly``: the log, the rows of that night, and the job while
it runs. So a second run of the same night, after a crash or beside the first, goes on with the same job and starts no
other. To go on with another night's: ``RUN_LABEL=nightly-2026-01-31 python nightly.py``.
"""

import logging
import os
import shutil
import sys
from datetime import date
from pathlib import Path

from tickets import DATASET, MODEL

from arkor import HuggingFaceDataset, LocalDataset, Trainer

LABEL = os.environ.get("RUN_LABEL") or f"nightly-{date.today()}"
FOLDER = Path("nightly").resolve()


def snapshot() -> HuggingFaceDataset | LocalDataset:
    """Return a copy of the rows that nobody changes any more; of rows that lie elsewhere, make one there."""
    if not isinstance(DATASET, LocalDataset) or not isinstance(DATASET.path, Path):
        return DATASET
    copy = FOLDER / f"{LABEL}.jsonl"
    if not copy.exists():
        shutil.copyfile(DATASET.path, copy)
    return LocalDataset(copy)


def main() -> int:
    """Train, log, and return the exit code; cron mails what goes to stderr."""
    FOLDER.mkdir(exist_ok=True)
    logging.basicConfig(filename=FOLDER / "log", level=logging.INFO, format=f"%(asctime)s {LABEL} %(message)s")
    try:
        trainer = Trainer(
            name=LABEL, model=MODEL, dataset=snapshot(), max_steps=20, remember=FOLDER / f"{LABEL}.running.json"
        )
        logging.info("Job %s", trainer.start().id)
        result = trainer.wait(timeout=20 * 60 * 60, check=True)
    except Exception as exc:
        logging.exception("No adapter tonight")
        print(f"{LABEL}: {exc}\nMore is in {FOLDER / 'log'}", file=sys.stderr)
        return 1
    logging.info("Job %s finished with status=%s", result.job.id, result.status)
    return 0


if __name__ == "__main__":
    sys.exit(main())

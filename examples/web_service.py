"""A web service that trains on demand (``pip install flask``).

    ARKOR_CLOUD_API_URL=local flask --app web_service run
    curl -X POST localhost:5000/train     # {"job_id": "job_…", "status": "queued"}, at once
    curl localhost:5000/train/job_…       # {"job_id": "job_…", "status": "running"}

A trainer is one job, so every request makes a trainer of its own. ``wait()`` takes as long as the training: a thread
does it, for without it no callback is called. The status is the backend's, so any process of the service can tell it.
When the service stops, the waits end and the jobs go on. Whoever may POST spends your money: put a login in front.
"""

import atexit
import threading
import weakref

from flask import Flask
from tickets import DATASET, MODEL

from arkor import Aborted, ArkorError, NotFound, Trainer

app = Flask(__name__)
app.logger.setLevel("INFO")
stopping = threading.Event()
followers: weakref.WeakSet[threading.Thread] = weakref.WeakSet()  # those that have ended leave by themselves


def make_trainer() -> Trainer:
    """Return a trainer that nobody has started."""
    return Trainer(name="on-demand", model=MODEL, dataset=DATASET, max_steps=20, abort_event=stopping)


def follow(trainer: Trainer) -> None:
    """Wait for a job's end; here it is only logged, with all that would be lost with the thread."""
    try:
        result = trainer.wait()
        app.logger.info("Job %s finished with status=%s", result.job.id, result.status)
    except Aborted:
        app.logger.info("The service stops; what it trains goes on")
    except Exception:
        app.logger.exception("Lost sight of a job")


@app.post("/train")
def train() -> tuple[dict[str, str], int]:
    """Start a job, and answer with its id."""
    trainer = make_trainer()
    job = trainer.start()
    follower = threading.Thread(target=follow, args=[trainer], daemon=True)
    followers.add(follower)
    follower.start()
    return {"job_id": job.id, "status": job.status}, 202


@app.get("/train/<job_id>")
def status(job_id: str) -> dict[str, str]:
    """Say how a job is."""
    job = Trainer.attach(job_id).start()
    return {"job_id": job.id, "status": job.status}


@app.errorhandler(ArkorError)
def refuse(error: ArkorError) -> tuple[dict[str, str], int]:
    """Answer where the backend does not know the job, refuses, or is away; why is nobody else's business."""
    app.logger.error("%s", error)
    return ({"error": "No such job"}, 404) if isinstance(error, NotFound) else ({"error": "No training now"}, 502)


@atexit.register
def stop() -> None:
    """End the waits before the process ends."""
    stopping.set()
    for follower in list(followers):
        follower.join()

"""What the recipes in this folder train: a model, and rows for it. Put your own here; the recipes stay as they are.

With ``ARKOR_CLOUD_API_URL=local`` it is a small model and the tickets of the triage example, sent from this machine.
Arkor Cloud takes no uploads: there it is the cloud's own demo, with rows from the Hugging Face hub.
"""

from pathlib import Path

from arkor import HuggingFaceDataset, LocalDataset, default_cloud_api_url

MODEL = "unsloth/gemma-4-E4B-it"
DATASET: HuggingFaceDataset | LocalDataset = HuggingFaceDataset("arkorlab/triage-demo")

if default_cloud_api_url() == "local":
    MODEL = "smollm2-135m"
    DATASET = LocalDataset(Path(__file__).parent / "triage" / "data" / "tickets.jsonl")

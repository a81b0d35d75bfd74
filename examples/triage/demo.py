"""The whole job in one script: train the example on this machine, fetch the adapter, and measure what it learnt.

Usage: python demo.py [FOLDER], from this folder; FOLDER gets the adapter, by default ./adapters.
"""

import os
import sys
from pathlib import Path

from evaluate import print_table

from arkor import run_trainer

os.environ.setdefault("ARKOR_CLOUD_API_URL", "local")

result = run_trainer()
result.raise_for_status()
for folder in result.download(sys.argv[1] if len(sys.argv) > 1 else "adapters"):
    size = sum(file.stat().st_size for file in folder.iterdir())
    print(f"Adapter: {Path(folder).resolve()} ({size / 2**20:.1f} MiB)")
print_table(result, 20)

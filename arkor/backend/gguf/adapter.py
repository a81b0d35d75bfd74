"""``python -m arkor.backend.gguf.adapter MAP ADAPTER FILE``: write an adapter as a GGUF file.

MAP is what ``tensor_map`` wrote of the base model, ADAPTER the folder of PEFT's files, FILE the GGUF file to write.
llama.cpp loads it beside the base model (``--lora``).

An adapter adds B A to a weight W. Where llama.cpp has some rows of W, it gets the same rows of B A: those rows of B,
and A as it is.
"""

from __future__ import annotations

import json
import math
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NoReturn

import gguf
import numpy as np
from safetensors import deserialize

from arkor.backend.gguf.maps import TensorMap

_PAIR = re.compile(r"base_model\.model\.(.+)\.lora_A\.weight")
_NUMBERS = {"F64": np.float64, "F32": np.float32, "F16": np.float16}


def write(tensor_map: TensorMap, adapter: Path, file: Path) -> None:
    """Write the file; exit with a text if the adapter cannot be said in this form."""
    config = json.loads((adapter / "adapter_config.json").read_text())
    for name in ("use_dora", "modules_to_save", "rank_pattern", "alpha_pattern"):
        if config.get(name):
            _leave(f"a GGUF adapter cannot hold {name}: export the whole model, --to gguf without --adapter-only")
    tensors = dict(_tensors(tensor_map, _read(adapter / "adapter_model.safetensors")))
    writer = gguf.GGUFWriter(file, tensor_map.architecture)
    writer.add_type(gguf.GGUFType.ADAPTER)
    writer.add_string(gguf.Keys.Adapter.TYPE, "lora")
    writer.add_float32(gguf.Keys.Adapter.LORA_ALPHA, _alpha(config))
    for name, tensor in tensors.items():
        writer.add_tensor(name, np.ascontiguousarray(tensor))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _alpha(config: Mapping[str, Any]) -> float:
    """Return what llama.cpp divides by the rank to get the scale."""
    alpha, rank = float(config["lora_alpha"]), int(config["r"])
    return alpha * math.sqrt(rank) if config.get("use_rslora") else alpha


def _read(file: Path) -> dict[str, np.ndarray[Any, Any]]:
    """Return the tensors of a file in float32. NumPy has no bfloat16: it is the upper half of a float32."""
    found = {}
    entries: list[tuple[str, dict[str, Any]]] = deserialize(file.read_bytes())  # type: ignore[no-untyped-call]
    for name, entry in entries:
        data = bytes(entry["data"])
        if entry["dtype"] == "BF16":
            numbers = (np.frombuffer(data, np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] in _NUMBERS:
            numbers = np.frombuffer(data, _NUMBERS[entry["dtype"]]).astype(np.float32)
        else:
            _leave(f"its numbers are {entry['dtype']}")
        found[name] = numbers.reshape(entry["shape"])
    return found


def _tensors(
    tensor_map: TensorMap, tensors: Mapping[str, np.ndarray[Any, Any]]
) -> Iterator[tuple[str, np.ndarray[Any, Any]]]:
    pairs = {match[1]: tensors[match[0]] for name in tensors if (match := _PAIR.fullmatch(name))}
    if 2 * len(pairs) != len(tensors):
        _leave("the adapter has tensors that are no matrices of LoRA: export the whole model, without --adapter-only")
    for module, down in pairs.items():
        up = tensors[f"base_model.model.{module}.lora_B.weight"]
        if module not in tensor_map.modules:
            _leave(f"llama.cpp keeps {module} in a form that a GGUF adapter cannot change: export the whole model")
        for part in tensor_map.modules[module]:
            yield f"{part.tensor}.lora_a", down
            yield f"{part.tensor}.lora_b", up if part.rows is None else up[list(part.rows)]


def _leave(why: str) -> NoReturn:
    sys.exit(f"The adapter cannot be written: {why}.")


if __name__ == "__main__":
    write(TensorMap.read(Path(sys.argv[1])), *map(Path, sys.argv[2:4]))

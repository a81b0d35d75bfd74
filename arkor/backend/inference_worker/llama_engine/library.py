"""llama.cpp as a library: the functions of its C interface that are used here, and their structures.

They are those of ``llama.h``. The package xllamacpp has llama.cpp inside of it and lets its functions be called; no
other package with prebuilt wheels for Linux and macOS does. The structures change between versions of llama.cpp, so
only the version whose header was read is taken.
"""

from __future__ import annotations

import ctypes
import functools
import importlib.util
import sys
from collections import deque
from ctypes import POINTER, Structure, c_bool, c_char_p, c_float, c_int, c_int32, c_size_t, c_uint32, c_void_p
from pathlib import Path
from typing import Any

from arkor.backend.gguf.package import INSTALL, PACKAGE, problem

NO_FLASH_ATTENTION = 0
_WARNING, _ERROR = 3, 4
_DEFAULTS = {"n_ctx": 512, "n_batch": 2048, "n_ubatch": 512, "n_seq_max": 1, "type_k": 1, "swa_full": True}

_complaints: deque[str] = deque(maxlen=5)


class LlamaError(Exception):
    """llama.cpp cannot do it; the text says why."""


class ModelParams(Structure):
    """``llama_model_params``."""

    _fields_ = (
        ("devices", c_void_p),
        ("tensor_buft_overrides", c_void_p),
        ("n_gpu_layers", c_int32),
        ("split_mode", c_int),
        ("load_mode", c_int),
        ("lazy_mode", c_int),
        ("main_gpu", c_int32),
        ("tensor_split", c_void_p),
        ("progress_callback", c_void_p),
        ("progress_callback_user_data", c_void_p),
        ("kv_overrides", c_void_p),
        ("vocab_only", c_bool),
        ("check_tensors", c_bool),
        ("use_extra_bufts", c_bool),
        ("no_host", c_bool),
        ("no_alloc", c_bool),
        ("load_mtp", c_bool),
    )


class ContextParams(Structure):
    """``llama_context_params``."""

    _fields_ = (
        ("n_ctx", c_uint32),
        ("n_batch", c_uint32),
        ("n_ubatch", c_uint32),
        ("n_seq_max", c_uint32),
        ("n_rs_seq", c_uint32),
        ("n_outputs_max", c_uint32),
        ("n_outputs_max_per_seq", c_uint32),
        ("n_threads", c_int32),
        ("n_threads_batch", c_int32),
        ("ctx_type", c_int),
        ("rope_scaling_type", c_int),
        ("pooling_type", c_int),
        ("attention_type", c_int),
        ("flash_attn_type", c_int),
        ("rope_freq_base", c_float),
        ("rope_freq_scale", c_float),
        ("yarn_ext_factor", c_float),
        ("yarn_attn_factor", c_float),
        ("yarn_beta_fast", c_float),
        ("yarn_beta_slow", c_float),
        ("yarn_orig_ctx", c_uint32),
        ("defrag_thold", c_float),
        ("cb_eval", c_void_p),
        ("cb_eval_user_data", c_void_p),
        ("type_k", c_int),
        ("type_v", c_int),
        ("moe_cache_size", c_size_t),
        ("abort_callback", c_void_p),
        ("abort_callback_data", c_void_p),
        ("embeddings", c_bool),
        ("offload_kqv", c_bool),
        ("no_perf", c_bool),
        ("op_offload", c_bool),
        ("swa_full", c_bool),
        ("kv_unified", c_bool),
        ("samplers", c_void_p),
        ("n_samplers", c_size_t),
        ("ctx_other", c_void_p),
    )


class Tokens(Structure):
    """``llama_batch``."""

    _fields_ = (
        ("n_tokens", c_int32),
        ("token", c_void_p),
        ("embd", c_void_p),
        ("pos", c_void_p),
        ("n_seq_id", c_void_p),
        ("seq_id", c_void_p),
        ("logits", c_void_p),
    )


_FUNCTIONS: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "llama_backend_init": (None, ()),
    "llama_model_default_params": (ModelParams, ()),
    "llama_model_load_from_file": (c_void_p, (c_char_p, ModelParams)),
    "llama_model_free": (None, (c_void_p,)),
    "llama_model_get_vocab": (c_void_p, (c_void_p,)),
    "llama_model_is_recurrent": (c_bool, (c_void_p,)),
    "llama_model_is_hybrid": (c_bool, (c_void_p,)),
    "llama_vocab_n_tokens": (c_int32, (c_void_p,)),
    "llama_adapter_lora_init": (c_void_p, (c_void_p, c_char_p)),
    "llama_adapter_lora_free": (None, (c_void_p,)),
    "llama_context_default_params": (ContextParams, ()),
    "llama_init_from_model": (c_void_p, (c_void_p, ContextParams)),
    "llama_free": (None, (c_void_p,)),
    "llama_set_adapters_lora": (c_int32, (c_void_p, POINTER(c_void_p), c_size_t, POINTER(c_float))),
    "llama_set_n_threads": (None, (c_void_p, c_int32, c_int32)),
    "llama_get_memory": (c_void_p, (c_void_p,)),
    "llama_memory_seq_rm": (c_bool, (c_void_p, c_int32, c_int32, c_int32)),
    "llama_memory_seq_cp": (None, (c_void_p, c_int32, c_int32, c_int32, c_int32)),
    "llama_decode": (c_int32, (c_void_p, Tokens)),
    "llama_get_logits_ith": (POINTER(c_float), (c_void_p, c_int32)),
}


@functools.lru_cache(maxsize=1)
def library() -> Any:
    """Return llama.cpp's functions; the first call loads them.

    Raises:
        LlamaError: it is not installed, in another version, or cannot be loaded on this machine.
    """
    reason = problem()
    if reason is not None:
        raise LlamaError(reason)
    try:
        functions = ctypes.CDLL(str(_file()))
        for name, (result, arguments) in _FUNCTIONS.items():
            function = getattr(functions, name)
            function.restype, function.argtypes = result, arguments
    except (OSError, AttributeError) as exc:
        raise LlamaError(f"{PACKAGE} cannot be loaded: {exc}") from exc
    defaults = functions.llama_context_default_params()
    if any(getattr(defaults, name) != value for name, value in _DEFAULTS.items()):
        raise LlamaError(f"{PACKAGE} has other structures than its version says: {INSTALL}")
    functions.llama_log_set(_note, None)
    functions.llama_backend_init()
    return functions


def complaints() -> str:
    """Return what llama.cpp complained of since the last call, in one line."""
    said = "; ".join(_complaints)
    _complaints.clear()
    return said or "it does not say why"


def _file() -> Path:
    spec = importlib.util.find_spec(PACKAGE)  # not imported: that would take what the package has beside llama.cpp
    folders = [] if spec is None else spec.submodule_search_locations or []
    for folder in folders:
        for file in Path(folder).glob(f"{PACKAGE}*.so"):
            return file
    raise OSError("its library is missing")


def _noted(level: int, text: bytes, _: Any) -> None:
    line = text.decode("utf-8", "replace")
    if level == _ERROR and line.strip():
        _complaints.append(line.strip())
    if level in {_WARNING, _ERROR}:
        sys.stderr.write(line)


_note = ctypes.CFUNCTYPE(None, c_int, c_char_p, c_void_p)(_noted)  # kept: llama.cpp calls it

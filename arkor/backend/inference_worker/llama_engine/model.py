"""A model of llama.cpp, and the contexts in which it reads texts."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Sequence

import attrs
import numpy as np
import torch

from arkor.backend.inference_worker.llama_engine.library import (
    NO_FLASH_ATTENTION,
    LlamaError,
    Tokens,
    complaints,
    library,
)

PIECE_TOKENS = 32
"""How many tokens of a prompt are read in one call. A text is always read in the same pieces, as another number of
tokens in a call rounds otherwise: so what is kept of the beginning of another text is what reading it would give."""

_CELLS_UNIT = 256  # llama.cpp rounds the places of a text up to such a number
_WIDEST_GAP = 4  # places between two texts, for which a token is computed that nobody wants: cheaper than another call


class Model:
    """A GGUF file that llama.cpp has loaded. Not thread-safe.

    Args:
        file: the GGUF file.

    Attributes:
        vocab_size: how many logits it gives.
        can_forget: whether the end of a text can be forgotten: not with recurrent layers.

    Raises:
        LlamaError: it cannot be loaded.
    """

    def __init__(self, file: str) -> None:
        self._library = library()
        params = self._library.llama_model_default_params()
        params.n_gpu_layers = 0  # the processor alone
        self.handle = self._library.llama_model_load_from_file(file.encode(), params)
        if not self.handle:
            raise LlamaError(f"llama.cpp cannot load {file}: {complaints()}")
        self.vocab_size = self._library.llama_vocab_n_tokens(self._library.llama_model_get_vocab(self.handle))
        is_recurrent, is_hybrid = self._library.llama_model_is_recurrent, self._library.llama_model_is_hybrid
        self.can_forget = not is_recurrent(self.handle) and not is_hybrid(self.handle)

    def load_adapter(self, file: str) -> int:
        """Load an adapter; return what contexts call it.

        Raises:
            LlamaError: it cannot be loaded, or does not fit this model.
        """
        found: int | None = self._library.llama_adapter_lora_init(self.handle, file.encode())
        if not found:
            raise LlamaError(f"llama.cpp cannot load the adapter: {complaints()}")
        return found

    def drop_adapter(self, adapter: int) -> None:
        """Let go of an adapter that no context has."""
        self._library.llama_adapter_lora_free(adapter)

    def close(self) -> None:
        """Let go of the model, whose contexts are closed."""
        self._library.llama_model_free(self.handle)


@attrs.frozen
class Part:
    """The next tokens of a text.

    Attributes:
        place: where the text is.
        ids: the tokens.
        kept: the places among them whose logits are wanted.
    """

    place: int
    ids: Sequence[int]
    kept: Sequence[int]


class Context:
    """What a model keeps of several texts, each in a place of its own, all with the same adapter. Not thread-safe.

    Args:
        model: the model.
        adapter: as ``Model.load_adapter`` named it, or None.
        places: how many texts, at least 1.
        length: how many tokens a text has at most.

    Attributes:
        adapter: as ``Model.load_adapter`` named it, or None.
        length: how many tokens a text has at most.
        texts: of each place, the tokens that are read.

    Raises:
        LlamaError: there is not enough memory for it.
    """

    def __init__(self, model: Model, adapter: int | None, places: int, length: int) -> None:
        self._library, self._vocab_size, self._can_forget = library(), model.vocab_size, model.can_forget
        self.adapter = adapter
        self.length = -(-length // _CELLS_UNIT) * _CELLS_UNIT
        self.texts: list[list[int]] = [[] for _ in range(places)]
        self._whole = [0] * places  # how many of the first tokens were read in whole pieces
        self._threads = torch.get_num_threads()
        most = max(places, PIECE_TOKENS)
        self._tokens = _Buffer(most)
        params = self._library.llama_context_default_params()
        params.n_ctx, params.n_seq_max, params.kv_unified = self.length * places, places, False
        params.n_batch = params.n_ubatch = params.n_outputs_max = most
        params.n_threads = params.n_threads_batch = self._threads
        params.flash_attn_type = NO_FLASH_ATTENTION  # its sums depend on the number of threads
        params.no_perf = True
        self._handle = self._library.llama_init_from_model(model.handle, params)
        if not self._handle:
            raise LlamaError(f"llama.cpp has no room for {places} texts of {self.length} tokens: {complaints()}")
        self._memory = self._library.llama_get_memory(self._handle)
        if adapter is not None:
            adapters, scales = (ctypes.c_void_p * 1)(adapter), (ctypes.c_float * 1)(1.0)
            self._library.llama_set_adapters_lora(self._handle, adapters, 1, scales)

    def read(self, parts: Sequence[Part]) -> torch.Tensor:
        """Go on with texts.

        Args:
            parts: of different texts, in the order of their places; together at most ``PIECE_TOKENS`` tokens, or one
                for each place.

        Returns:
            The logits behind the kept tokens, float32, (kept, vocabulary). They are valid until the next call.

        Raises:
            LlamaError: it failed.
        """
        if torch.get_num_threads() != self._threads:
            self._threads = torch.get_num_threads()
            self._library.llama_set_n_threads(self._handle, self._threads, self._threads)
        gaps = self._gaps(parts)
        read = sorted([*parts, *gaps], key=lambda part: part.place)
        kept = self._tokens.fill(read, [len(self.texts[part.place]) for part in read])
        code = self._library.llama_decode(self._handle, self._tokens.structure)
        for gap in gaps:
            self._library.llama_memory_seq_rm(self._memory, gap.place, len(self.texts[gap.place]), -1)
        if code != 0:
            for part in parts:  # some of it may have been read
                self.cut(part.place, 0)
            raise LlamaError(f"llama.cpp failed with code {code}: {complaints()}")
        for part in parts:
            if len(part.ids) == PIECE_TOKENS and len(self.texts[part.place]) == self._whole[part.place]:
                self._whole[part.place] += PIECE_TOKENS
            self.texts[part.place] += part.ids
        if not kept:
            return torch.empty(0, self._vocab_size)
        first = self._library.llama_get_logits_ith(self._handle, kept[0])  # the others follow it
        return torch.from_numpy(np.ctypeslib.as_array(first, (len(kept), self._vocab_size)))

    def _gaps(self, parts: Sequence[Part]) -> list[Part]:
        """Return a token for each place between the texts that one token is read of.

        llama.cpp goes on with texts together if their places follow each other, and otherwise with some after the
        others, which takes more than twice as long for four texts with a free place between any two.
        """
        if len(parts) < 2 or not self._can_forget or any(len(part.ids) > 1 for part in parts):
            return []
        gaps = [range(before.place + 1, after.place) for before, after in itertools.pairwise(parts)]
        narrow = [gap for gap in gaps if len(gap) <= _WIDEST_GAP]
        return [Part(place, [0], ()) for gap in narrow for place in gap if len(self.texts[place]) < self.length]

    def cut(self, place: int, length: int) -> None:
        """Forget what is behind the first tokens of a text; all of it where llama.cpp cannot forget a part."""
        if not self._library.llama_memory_seq_rm(self._memory, place, length, -1):
            self._library.llama_memory_seq_rm(self._memory, place, -1, -1)
            length = 0
        del self.texts[place][length:]
        self._whole[place] = min(self._whole[place], length // PIECE_TOKENS * PIECE_TOKENS)

    def common(self, place: int, ids: Sequence[int]) -> int:
        """Return how many tokens of a text can be had from a place: as many whole pieces as both begin with.

        Args:
            place: the place.
            ids: the text; its last token is left to be read.
        """
        text, most = self.texts[place], min(self._whole[place], max(0, len(ids) - 1) // PIECE_TOKENS * PIECE_TOKENS)
        for start in range(0, most, PIECE_TOKENS):
            if text[start : start + PIECE_TOKENS] != list(ids[start : start + PIECE_TOKENS]):
                return start
        return most

    def copy(self, source: int, target: int) -> None:
        """Have a text in another place too."""
        self.cut(target, 0)
        self._library.llama_memory_seq_cp(self._memory, source, target, -1, -1)
        self.texts[target], self._whole[target] = list(self.texts[source]), self._whole[source]

    def close(self) -> None:
        """Let go of it."""
        self._library.llama_free(self._handle)


class _Buffer:
    """The tokens of a call, as llama.cpp takes them."""

    def __init__(self, most: int) -> None:
        self._token, self._pos, self._place = (np.zeros(most, np.int32) for _ in range(3))
        self._one, self._kept = np.ones(most, np.int32), np.zeros(most, np.int8)
        first, size = self._place.ctypes.data, self._place.itemsize
        self._places = np.arange(first, first + most * size, size, dtype=np.uintp)  # a pointer for each token
        self.structure = Tokens(
            token=self._token.ctypes.data,
            pos=self._pos.ctypes.data,
            n_seq_id=self._one.ctypes.data,
            seq_id=self._places.ctypes.data,
            logits=self._kept.ctypes.data,
        )

    def fill(self, parts: Sequence[Part], starts: Sequence[int]) -> list[int]:
        """Take the parts of texts, of which so much was read before; return which tokens' logits are wanted."""
        at, kept = 0, []
        for part, start in zip(parts, starts, strict=True):
            end = at + len(part.ids)
            self._token[at:end], self._place[at:end] = part.ids, part.place
            self._pos[at:end] = range(start, start + len(part.ids))
            kept += [at + place for place in part.kept]
            at = end
        self._kept[:at] = 0
        self._kept[kept] = 1
        self.structure.n_tokens = at
        return kept

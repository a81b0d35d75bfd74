"""Names of data sets on the Hugging Face hub.

Protocol: docs/protocol.md, "Jobs": ``name`` of a ``datasetSource`` of type ``huggingface``.
"""

from __future__ import annotations

import re

from arkor.errors import ConfigError

_PART = r"\w(?:[\w.-]{0,94}\w)?"
_FULL_NAME = re.compile(rf"{_PART}/{_PART}", re.ASCII)
_BARE_NAME = re.compile(_PART, re.ASCII)
# The full names of well-known data sets that older tutorials call by a bare name.
_FORMERLY_BARE = {
    "ag_news": "fancyzhx/ag_news",
    "cnn_dailymail": "abisee/cnn_dailymail",
    "glue": "nyu-mll/glue",
    "gsm8k": "openai/gsm8k",
    "imdb": "stanfordnlp/imdb",
    "squad": "rajpurkar/squad",
    "wikitext": "Salesforce/wikitext",
    "xsum": "EdinburghNLP/xsum",
}


def check_hub_name(field: str, name: str) -> None:
    """Check that a name is ``owner/name``, the one form that cannot mean a file, a folder or a kind of file.

    Args:
        field: the setting that an error names.
        name: the data set's name.

    Raises:
        ConfigError: it is a path, a bare name or malformed; the error says how to write it.
    """
    if _FULL_NAME.fullmatch(name) and ".." not in name:
        return
    raise ConfigError(
        field, f"name must be a data set of the Hugging Face hub, owner/name, not {name!r:.200}{_hint(name)}"
    )


def is_hub_name(name: str) -> bool:
    """Say whether a text may be a data set of the hub rather than a file: it is ``owner/name`` without a suffix."""
    return bool(_FULL_NAME.fullmatch(name)) and "." not in name


def _hint(name: str) -> str:
    if name in _FORMERLY_BARE:
        return f": its full name is {_FORMERLY_BARE[name]}"
    if _BARE_NAME.fullmatch(name):
        return f": https://huggingface.co/datasets/{name} shows its owner; for a file, use LocalDataset"
    return ": for a file, use LocalDataset"

"""Where the rows of a training come from.

Protocol: docs/protocol.md, "Jobs" (datasetSource) and "Datasets".
"""

from __future__ import annotations

import contextlib
import reprlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, overload

import attrs

from arkor.data.checked import CheckedDataset
from arkor.data.columns import check_columns
from arkor.data.files import check_file, open_rows
from arkor.data.hub_names import check_hub_name
from arkor.data.jsonl import DatasetSummary
from arkor.data.previews import Previewed, PreviewOptions, check_no_options
from arkor.errors import ConfigError
from arkor.options import known_options
from arkor.protocol import wire
from arkor.protocol.previews import TokenSummary
from arkor.protocol.progress import Progress
from arkor.text import short_repr

if TYPE_CHECKING:
    from typing import Unpack  # Python 3.11; the type checker alone reads it


_MOST_SHOWN = 3


def _text(_: Any, field: attrs.Attribute[Any], value: Any) -> None:
    """Refuse what is no text; a field with a default may be absent, one without may not be empty."""
    required = field.default is attrs.NOTHING
    if not isinstance(value, str if required else str | None) or (required and not value.strip()):
        raise ConfigError("dataset", f"{field.name} must be a text{' that is not empty' * required}, not {value!r}")


def _hub_name(instance: Any, field: attrs.Attribute[Any], value: Any) -> None:
    _text(instance, field, value)
    check_hub_name("dataset", value)


def _path(value: Any) -> Path | tuple[Path, ...]:
    if isinstance(value, list | tuple) and value:
        return tuple(map(_one_path, value))
    return _one_path(value)


def _one_path(value: Any) -> Path:
    if not isinstance(value, str | Path) or value == "" or "\0" in str(value):
        raise ConfigError("dataset", f"path must be a text or a Path, not {short_repr(value)}")
    return Path(value)


def _columns(value: Any) -> Mapping[str, str] | None:
    return check_columns("dataset", value)


@known_options
@attrs.frozen
class HuggingFaceDataset(Previewed):
    """A data set of the Hugging Face hub.

    Args:
        name: its id, ``owner/name``; a bare name or a path is refused.
        split: which split to train on; the backend's default when absent.
        subset: which configuration of it; the only or default one when absent.
        columns: new names of columns by their old ones, see ``LocalDataset``; only on a self-hosted backend.
    """

    name: str = attrs.field(validator=_hub_name)
    split: str | None = attrs.field(default=None, kw_only=True, validator=_text)
    subset: str | None = attrs.field(default=None, kw_only=True, validator=_text)
    columns: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, converter=_columns, hash=False)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "huggingface", **wire.to_wire(self)}


@known_options
@attrs.frozen
class BlobDataset(Previewed):
    """A JSONL file behind a URL.

    The self-hosted backend fetches at most 32 GiB in at most 6 hours; a cut download goes on. ``arkor serve`` fetches
    from hosts on the public internet alone, unless its operator allows others. Example:
    ``BlobDataset("https://example.com/rows.jsonl", token=os.environ["ROWS_TOKEN"])``.

    Args:
        url: where the backend fetches it, http or https.
        token: sent as a bearer token with the fetch, where the URL needs one; on a redirect to no other host.
        columns: new names of columns by their old ones, see ``LocalDataset``; only on a self-hosted backend.
    """

    url: str = attrs.field(validator=_text)
    token: str | None = attrs.field(default=None, kw_only=True, repr=False, validator=_text)
    columns: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, converter=_columns, hash=False)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "blob", **wire.to_wire(self)}


@known_options
@attrs.frozen
class LocalDataset(Previewed):
    """Files of rows on this machine, checked here and uploaded when the job starts.

    Example: ``LocalDataset("faq.csv", columns={"frage": "prompt", "antwort": "completion"})``.

    Args:
        path: the file, a folder of files, or a pattern such as ``data/*.jsonl``; or a list of them, whose rows are
            counted on from one file to the next. A file is CSV where its name ends in ``.csv`` or ``.tsv``; else its
            first bytes tell JSONL, a JSON array, Parquet or Arrow, also within gzip. A relative path starts at the
            trainer's project folder.
        columns: new names of columns by their old ones; the new ones are those of a format. By default common names
            are recognised, with a warning that says so.
    """

    path: Path | tuple[Path, ...] = attrs.field(converter=_path)
    columns: Mapping[str, str] | None = attrs.field(default=None, kw_only=True, converter=_columns, hash=False)

    @property
    def source(self) -> str:
        """What to call the files in an error."""
        paths = [self.path] if isinstance(self.path, Path) else self.path
        return ", ".join([*map(str, paths[:_MOST_SHOWN]), *(["…"] if len(paths) > _MOST_SHOWN else [])])

    @overload
    def check(self, folder: Path | None = None) -> DatasetSummary: ...

    @overload
    def check(self, *, model: str, **options: Unpack[PreviewOptions]) -> TokenSummary: ...

    def check(
        self, folder: Path | None = None, *, model: str | None = None, **options: Any
    ) -> DatasetSummary | TokenSummary:
        """Check every row, holding one at a time; with a model, sum up what it would learn, see ``Previewed.check``.

        Args:
            folder: where a relative path starts; by default the working directory. With a model it is
                ``project_dir``.
            model: whose tokenizer a backend reads the rows with; None asks no backend.
            options: with a model only, see ``PreviewOptions``.

        Returns:
            What is in the file; with a model, what the model would see of it.

        Raises:
            DatasetError: it cannot be read, or its rows cannot be trained on.
            ConfigError: an option without a model.
            As ``Previewed.check`` does, with a model.
        """
        if model is not None:
            return super().check(model=model, **{"project_dir": folder, **options})
        check_no_options(options)
        return check_file(self.path, self.source, columns=self.columns, folder=folder)

    def open(self, folder: Path | None = None, on_progress: Progress | None = None) -> CheckedDataset:
        """Check every row, and make them ready to be sent.

        Args:
            folder: where a relative path starts; by default the working directory.
            on_progress: called about ten times a second with how many bytes of the files are read, and of how many.

        Returns:
            The rows, for the caller to close.

        Raises:
            DatasetError: the file cannot be read, or its rows cannot be trained on.
        """
        return open_rows(self.path, self.source, columns=self.columns, folder=folder, on_progress=on_progress)


@known_options
@attrs.frozen
class UploadedDataset(Previewed):
    """A data set that the self-hosted backend already has.

    Args:
        id: the lowercase hex SHA-256 of its JSONL bytes.
    """

    id: str = attrs.field(validator=_text)

    def to_wire(self) -> dict[str, Any]:
        """Return the ``datasetSource`` object."""
        return {"type": "dataset", **wire.to_wire(self)}


Dataset = HuggingFaceDataset | BlobDataset | LocalDataset | CheckedDataset | UploadedDataset

_BY_TYPE: dict[str, type[Any]] = {
    "huggingface": HuggingFaceDataset,
    "blob": BlobDataset,
    "local": LocalDataset,
    "dataset": UploadedDataset,
}


def parse_dataset(value: Dataset | Mapping[str, Any] | str | Path, field: str = "dataset") -> Dataset:
    """Return a data set as it is, or make one of a path or of its mapping form: ``{"type": "huggingface", "name": …}``.

    Args:
        value: the data set, a path for ``LocalDataset``, or the mapping.
        field: the setting that an error names.

    Raises:
        ConfigError: it is neither, or a key is missing or unknown.
    """
    try:
        return _parsed(value)
    except ConfigError as exc:
        raise ConfigError(field, exc.args[1]) from exc


def _parsed(value: Dataset | Mapping[str, Any] | str | Path) -> Dataset:
    if isinstance(value, (HuggingFaceDataset, BlobDataset, LocalDataset, CheckedDataset, UploadedDataset)):
        return value
    if isinstance(value, str | Path):
        return LocalDataset(value)
    if not isinstance(value, Mapping):
        given = f"{reprlib.repr(value)}. Of rows in memory arkor.dataset_from(rows) makes one"
        raise ConfigError("dataset", f"must be a data set, a path, or a mapping with a type, not {given}")
    arguments = dict(value)
    cls = _BY_TYPE.get(str(arguments.pop("type", "")))
    if cls is None:
        raise ConfigError("dataset", f"type must be one of {', '.join(_BY_TYPE)}, not {value.get('type')!r}")
    known = {field.name: field.default is attrs.NOTHING for field in attrs.fields(cls)}
    missing = [name for name, required in known.items() if required and not arguments.get(name)]
    unknown = sorted(set(arguments) - set(known))
    if missing or unknown:
        fault = f"needs {', '.join(missing)}" if missing else f"has no setting {', '.join(unknown)}"
        raise ConfigError("dataset", f"a data set of type {value['type']!r} {fault}")
    dataset: Dataset = cls(**arguments)
    return dataset


@contextlib.contextmanager
def opened(
    dataset: LocalDataset | CheckedDataset, folder: Path | None = None, on_progress: Progress | None = None
) -> Iterator[CheckedDataset]:
    """Have the rows of this machine ready to be sent inside the block; what was ready before stays so.

    Args:
        dataset: the rows.
        folder: where a relative path starts; by default the working directory.
        on_progress: as for ``LocalDataset.open``.

    Raises:
        DatasetError: they cannot be read, or cannot be trained on.
    """
    if isinstance(dataset, CheckedDataset):
        yield dataset
        return
    with contextlib.closing(dataset.open(folder, on_progress)) as checked:
        yield checked

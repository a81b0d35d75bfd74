"""The public face: which names there are, where they come from, and what importing them costs."""

from __future__ import annotations

import ast
import importlib
import inspect
import subprocess
import sys
from pathlib import Path

import pytest

import arkor

INIT = Path(arkor.__file__)


def loaded_by(code: str) -> set[str]:
    """Return the top-level modules that a fresh interpreter has after some code."""
    report = f"{code}\nimport sys\nprint(*{{name.partition('.')[0] for name in sys.modules}})"
    ended = subprocess.run([sys.executable, "-c", report], capture_output=True, text=True, check=True, timeout=30)
    return set(ended.stdout.split())


def test_importing_arkor_is_cheap() -> None:
    """It loads no dependency at all: they come with the first name that needs them."""
    heavy = {"attr", "attrs", "click", "flask", "requests", "sseclient", "tenacity", "torch", "transformers", "urllib3"}
    assert loaded_by("import arkor") & heavy == set()


def test_the_command_line_starts_without_the_network() -> None:
    """``arkor --help`` needs click, and no HTTP client."""
    loaded = loaded_by("from arkor.cli import cli\nfor name in cli.list_commands(None): cli.get_command(None, name)")
    assert "click" in loaded
    assert loaded & {"requests", "flask", "torch"} == set()


def test_asking_for_the_version_loads_nothing_that_only_errors_need() -> None:
    """``arkor --version`` is about as quick as click is."""
    code = "from arkor.cli import main\ntry:\n    main(['--version'])\nexcept SystemExit:\n    pass"
    loaded = loaded_by(code) - loaded_by("")  # an editable installation loads some itself
    assert loaded & {"attr", "importlib.metadata", "pathlib", "requests", "socket", "zipfile"} == set()


def test_all_is_sorted_and_complete() -> None:
    """What is public is in ``__all__`` once, in order."""
    version, *names = arkor.__all__
    assert version == "__version__"
    assert names == sorted(set(names))
    assert {"Trainer", "create_trainer", "create_arkor", "is_arkor", "run_trainer", "CloudApiClient"} <= set(names)


@pytest.mark.parametrize("name", arkor.__all__)
def test_every_public_name_resolves(name: str) -> None:
    """And it is what its home module has under that name."""
    value = getattr(arkor, name)
    if name != "__version__":
        assert value is getattr(importlib.import_module(arkor._HOME_OF[name]), name)
        assert name in dir(arkor)


def test_dir_lists_public_names_alone() -> None:
    """Also once submodules were imported, which makes them attributes of the package."""
    code = "import arkor, arkor.cli, arkor.backend; arkor.Trainer; print(*dir(arkor))"
    listed = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30).stdout
    assert {name for name in listed.split() if not name.startswith("__")} == {*arkor.__all__} - {"__version__"}
    assert {"__version__", "__doc__", "__all__"} <= set(listed.split())


def test_names_that_do_not_exist_are_refused_as_python_does() -> None:
    """A misspelt name is an AttributeError, in ``from arkor import`` an ImportError."""
    with pytest.raises(AttributeError, match="module 'arkor' has no attribute 'Triner'"):
        arkor.Triner  # type: ignore[attr-defined]  # noqa: B018
    with pytest.raises(ImportError):
        importlib.import_module("arkor.nosuch")


def test_the_type_checker_sees_the_same_names() -> None:
    """The TYPE_CHECKING block and the table of homes agree, name by name."""
    seen = {}
    for node in ast.walk(ast.parse(INIT.read_bytes())):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            for statement in node.body:
                assert isinstance(statement, ast.ImportFrom)
                for alias in statement.names:
                    assert alias.asname == alias.name
                    seen[alias.name] = statement.module
    assert seen == arkor._HOME_OF


def test_every_error_is_public() -> None:
    """Whatever arkor raises can be caught by its public name."""
    errors = importlib.import_module("arkor.errors")
    own = {name for name, value in vars(errors).items() if inspect.isclass(value) and issubclass(value, Exception)}
    assert own <= set(arkor.__all__)


def test_every_public_name_says_what_it_is() -> None:
    """Each has a docstring of its own."""
    silent = [
        name
        for name in arkor.__all__
        if (inspect.isclass(value := getattr(arkor, name)) or inspect.isfunction(value)) and not value.__doc__
    ]
    assert silent == []

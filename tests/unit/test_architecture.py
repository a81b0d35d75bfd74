"""The floors of docs/architecture.md, read off the imports: none goes up, none goes round, nothing is asynchronous.

``python -m tests.unit.test_architecture`` prints the folders, their floors and the imports between them.
"""

from __future__ import annotations

import ast
import functools
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import attrs
import pytest

ROOT = Path(__file__).parents[2]

# From the ground. A folder is one floor; a module may import its own floor and those below it.
FLOORS = (
    ("errors", "version", "text", "options"),
    ("system", "serving", "drawing"),
    ("protocol", "http", "scaffold"),
    ("auth", "data", "evaluation", "progress"),
    ("client", "notebook"),
    ("trainer",),
    ("entry",),
    ("studio",),
    ("cli", "__main__"),
)
BACKEND_FLOORS = (
    ("backend.storage", "backend.addresses", "backend.settings", "backend.whole_numbers"),
    ("backend.models", "backend.processes", "backend.store"),
    ("backend.gguf",),
    ("backend.inference", "backend.training_worker.rows"),
    ("backend.training_worker.examples", "backend.training_worker.limits"),
    (
        *("backend.jobs", "backend.inference_worker", "backend.training_worker"),
        *("backend.tasks", "backend.task_worker", "backend.evaluations", "backend.evaluation_worker"),
        "backend.backups",
        *("backend.exports", "backend.export_worker", "backend.imports", "backend.import_worker"),
    ),
    ("backend",),
)
BACKEND_USES = ("errors", "version", "text", "system", "serving", "protocol", "data", "evaluation")
WORKERS = tuple(
    f"arkor.backend.{kind}_worker" for kind in ("inference", "training", "task", "evaluation", "export", "import")
)
MOST_TOP_LEVEL_MODULES = 8
CORE_USES = frozenset({"arkor", "attrs", "click", "requests", "sseclient", "tenacity", "urllib3"})
HEAVY = frozenset(
    {"torch", "transformers", "trl", "peft", "safetensors", "gguf", "datasets", "tokenizers", "accelerate", "ray"}
)
# The last one is a program on the nodes of a Ray cluster.
HEAVY_ROOMS = (*WORKERS, "arkor.backend.models", "arkor.backend.gguf", "arkor.backend.processes.ray_group")
OPTIONAL = {  # modules of the core that need a package of an extra, and say so where it is missing
    "arkor.evaluation.overlap": frozenset({"rouge_score", "sacrebleu"}),
    "arkor.client.hub": frozenset({"huggingface_hub"}),
}
S3 = frozenset({"boto3", "botocore"})
SERVING = frozenset({"flask", "waitress", "sqlalchemy", "plotly"})
SERVING_ROOMS = ("arkor.serving", "arkor.backend", "arkor.studio")


@attrs.frozen
class Import:
    """One import of one module; ``when`` says when it is done: at ``import``, in a ``function``, or for ``typing``."""

    importer: str
    imported: str
    line: int
    when: str

    def __str__(self) -> str:
        return f"{self.importer}:{self.line} imports {self.imported}"


def _name_of(file: Path) -> str:
    parts = file.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {_name_of(file): file for file in sorted((ROOT / "arkor").rglob("*.py"))}


def _walk(node: ast.AST, when: str) -> Iterator[tuple[ast.AST, str]]:
    """Yield every node with when it runs: at import, in a function, or for the type checker only."""
    for child in ast.iter_child_nodes(node):
        inner = when
        if isinstance(child, (ast.FunctionDef, ast.Lambda)) and when == "import":
            inner = "function"
        if isinstance(child, ast.If) and "TYPE_CHECKING" in ast.dump(child.test):
            inner = "typing"
        yield child, inner
        yield from _walk(child, inner)


def _imported(module: str, node: ast.Import | ast.ImportFrom) -> Iterator[str]:
    if isinstance(node, ast.Import):
        yield from (alias.name for alias in node.names)
        return
    base = node.module or ""
    if node.level:
        package = module.split(".") if FILES[module].name == "__init__.py" else module.split(".")[:-1]
        base = ".".join([*package[: len(package) - node.level + 1], *filter(None, [node.module])])
    for alias in node.names:
        inner = f"{base}.{alias.name}"
        yield inner if inner in FILES else base


@functools.cache
def imports() -> tuple[Import, ...]:
    """Every import in the package, in functions too."""
    found = []
    for module, file in FILES.items():
        for node, when in _walk(ast.parse(file.read_bytes()), "import"):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                found += [Import(module, name, node.lineno, when) for name in _imported(module, node)]
    return tuple(found)


def _is_in(module: str, room: str) -> bool:
    return module == room or module.startswith(f"{room}.")


def _room(module: str) -> str | None:
    """Return the entry of the floors that a module belongs to; None for the public names."""
    rooms = [f"arkor.{room}" for floor in (*FLOORS, *BACKEND_FLOORS) for room in floor]
    fitting = [room for room in rooms if _is_in(module, room)]
    return max(fitting, key=len) if fitting else None


def _floor(module: str, floors: Sequence[Sequence[str]]) -> int | None:
    """Return the floor of a module; None for one that has none among these floors."""
    room = _room(module)
    return next((floor for floor, rooms in enumerate(floors) if room in {f"arkor.{name}" for name in rooms}), None)


def _ours(*, typing: bool = False) -> list[Import]:
    return [item for item in imports() if _is_in(item.imported, "arkor") and (typing or item.when != "typing")]


def test_the_walk_sees_imports_of_every_kind() -> None:
    """The checks below stand on this: module level, function level, ``from package import module``, type checking."""
    seen = {(item.importer, item.imported, item.when) for item in imports()}
    assert ("arkor.trainer.start", "arkor.client.project", "import") in seen
    assert ("arkor.cli.commands.start", "arkor.entry.runner", "function") in seen
    assert ("arkor.client.client", "arkor.client.local_backend", "import") in seen
    assert ("arkor.client.result", "arkor.client.chat", "typing") in seen


def test_every_module_has_a_floor() -> None:
    """A new folder takes its place in the architecture."""
    assert [name for name in FILES if _room(name) is None and name != "arkor"] == []


def test_few_modules_lie_at_the_top() -> None:
    """Everything else is in a folder."""
    assert len(list((ROOT / "arkor").glob("*.py"))) <= MOST_TOP_LEVEL_MODULES


@pytest.mark.parametrize("floors", [FLOORS, BACKEND_FLOORS], ids=["package", "backend"])
def test_no_import_goes_up(floors: Sequence[Sequence[str]]) -> None:
    """A lower module never knows a higher one: not inside a function, not for the type checker."""
    wrong = []
    for item in _ours(typing=True):
        importer, imported = _floor(item.importer, floors), _floor(item.imported, floors)
        if importer is not None and imported is not None and imported > importer:
            wrong.append(str(item))
    assert wrong == []


def test_folders_of_one_floor_do_not_import_each_other_in_a_circle() -> None:
    """Nor do folders of different floors."""
    needs: dict[str, set[str]] = {}
    for item in _ours(typing=True):
        importer, imported = _room(item.importer), _room(item.imported)
        if importer and imported and importer != imported:
            needs.setdefault(importer, set()).add(imported)
    assert _circle(needs) == {}


def test_nothing_imports_the_backend() -> None:
    """It is only ever started as a process."""
    wrong = [item for item in _ours() if _is_in(item.imported, "arkor.backend")]
    assert [str(item) for item in wrong if not _is_in(item.importer, "arkor.backend")] == []


def test_the_backend_uses_only_what_is_shared_with_it() -> None:
    """The errors, what travels, the formats of rows; never the client."""
    wrong = [
        str(item)
        for item in _ours()
        if _is_in(item.importer, "arkor.backend")
        and not _is_in(item.imported, "arkor.backend")
        and not any(_is_in(item.imported, f"arkor.{name}") for name in BACKEND_USES)
    ]
    assert wrong == []


def test_the_public_names_load_nothing_but_the_version() -> None:
    """``import arkor`` is lazy."""
    loaded = {item.imported for item in imports() if item.importer == "arkor" and item.when == "import"}
    assert {name for name in loaded if _is_in(name, "arkor")} == {"arkor.version"}


def test_the_core_has_only_its_five_dependencies() -> None:
    """And urllib3, which is part of requests."""
    wrong = []
    for item in imports():
        root = item.imported.partition(".")[0]
        core = not any(_is_in(item.importer, room) for room in SERVING_ROOMS)
        known = CORE_USES | OPTIONAL.get(item.importer, frozenset())
        if core and root not in known and root not in sys.stdlib_module_names:
            wrong.append(str(item))
    assert wrong == []


@pytest.mark.parametrize(
    ("packages", "rooms"),
    [(HEAVY, HEAVY_ROOMS), (SERVING, SERVING_ROOMS), (S3, ("arkor.backend.storage",))],
    ids=["heavy", "serving", "s3"],
)
def test_heavy_packages_stay_in_their_rooms(packages: frozenset[str], rooms: tuple[str, ...]) -> None:
    """Torch and its like are for the processes that train and chat, Flask and its like for those that serve.

    boto3 is for the storage.
    """
    wrong = [
        str(item)
        for item in imports()
        if item.imported.partition(".")[0] in packages and not any(_is_in(item.importer, room) for room in rooms)
    ]
    assert wrong == []


def test_the_process_that_serves_http_never_loads_torch() -> None:
    """Nothing that the backend's process imports leads to a heavy package."""
    reached = _reached("arkor.backend.__main__")
    assert "arkor.backend.app" in reached
    assert {name for name in reached if name.partition(".")[0] in HEAVY} == set()


@pytest.mark.parametrize("worker", [worker for worker in WORKERS if f"{worker}.__main__" in FILES])
def test_the_workers_never_load_what_serves_http(worker: str) -> None:
    """It would cost each start a tenth of a second."""
    reached = _reached(f"{worker}.__main__")
    assert "arkor.backend.inference.prompts" in reached
    assert {name for name in reached if name.partition(".")[0] in SERVING} == set()


def _reached(start: str) -> set[str]:
    """Return all that a module imports, and what that imports; a package comes with each of its modules."""
    reached: set[str] = set()
    pending = [start]
    while pending:
        module = pending.pop()
        if module not in reached:
            reached.add(module)
            pending += [package for package in [module.rpartition(".")[0]] if package in FILES]
            pending += [item.imported for item in imports() if item.importer == module and item.when != "typing"]
    return reached


def _is_of_worker(module: str) -> bool:
    return any(_is_in(module, worker) for worker in WORKERS)


def test_no_server_module_imports_a_worker() -> None:
    """The server starts the workers as processes of their own."""
    wrong = [
        str(item) for item in _ours(typing=True) if _is_of_worker(item.imported) and not _is_of_worker(item.importer)
    ]
    assert wrong == []


def test_no_imports_go_round() -> None:
    """No module needs itself, neither to be imported nor for the type checker."""
    needs: dict[str, set[str]] = {}
    for item in _ours(typing=True):
        if item.imported in FILES and item.importer not in {item.imported, "arkor"}:
            needs.setdefault(item.importer, set()).add(item.imported)
    assert _circle(needs) == {}


def _circle(needs: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return who needs whom among those that are part of a circle, or stand on one; empty if there is none."""
    left = {name: set(needed) for name, needed in needs.items()}
    while ready := [name for name, needed in left.items() if not needed & left.keys()]:
        for name in ready:
            del left[name]
    return left


def _sources() -> list[Path]:
    return [
        file for folder in ("arkor", "tests", "examples", "bench") for file in sorted((ROOT / folder).rglob("*.py"))
    ]


@functools.cache
def _nodes(file: Path) -> list[ast.AST]:
    return list(ast.walk(ast.parse(file.read_bytes())))


def test_nothing_is_asynchronous() -> None:
    """Our code is synchronous with threads, everywhere."""
    wrong = []
    for file in _sources():
        for node in _nodes(file):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            asynchronous = isinstance(node, (ast.AsyncFunctionDef, ast.AsyncFor, ast.AsyncWith, ast.Await))
            if asynchronous or any(name.partition(".")[0] == "asyncio" for name in names):
                wrong.append(f"{file}:{getattr(node, 'lineno', '?')}")
    assert wrong == []


def test_nothing_sleeps() -> None:
    """Waiting is for an event or a condition, with a deadline."""
    wrong = []
    for file in _sources():
        for node in _nodes(file):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in {"time.sleep", "sleep"}:
                wrong.append(f"{file}:{node.lineno}")
    assert wrong == []


def _print_graph() -> None:
    """Print the floors from the top, each folder with the folders that it imports and how often."""
    for name, floors in (("arkor", FLOORS), ("arkor.backend", BACKEND_FLOORS)):
        print(f"{name}, from the top:")
        for number, rooms in reversed(list(enumerate(floors))):
            for room in rooms:
                _print_room(number, room)


def _print_room(floor: int, room: str) -> None:
    used = Counter(
        target.removeprefix("arkor.")
        for item in _ours(typing=True)
        if _room(item.importer) == f"arkor.{room}" and (target := _room(item.imported)) not in {None, f"arkor.{room}"}
    )
    print(f"  {floor}  {room:26} " + ", ".join(f"{target} {count}" for target, count in sorted(used.items())))


if __name__ == "__main__":
    _print_graph()

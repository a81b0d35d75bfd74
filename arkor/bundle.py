"""An entry becomes one file: ``.arkor/build/index.pyz``.

The artifact is a zip file that Python can run. It holds the entry and every source that relative imports reach from it;
absolute imports stay outside and are resolved when it runs. The same sources give the same bytes.
"""

from __future__ import annotations

import ast
import io
import json
import zipfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from arkor.disk import write_atomically
from arkor.errors import BuildError
from arkor.loading import MANIFEST_NAME, SOURCES_FOLDER, DiskTree, entry_root, normal_path

DEFAULT_ENTRY = PurePosixPath("src/arkor/index.py")
ARTIFACT = PurePosixPath(".arkor/build/index.pyz")

_MAIN = """\
import sys

from arkor.cli import main

main(["start", sys.argv[0], *sys.argv[1:]])
"""
_EPOCH = (1980, 1, 1, 0, 0, 0)


def build(entry: Path | None = None, project_dir: Path | None = None) -> Path:
    """Bundle an entry into the project's artifact.

    Args:
        entry: the file, relative to the project or absolute; by default ``src/arkor/index.py``.
        project_dir: the project's root; by default the working directory.

    Returns:
        The artifact, written in one step; after a failure the last one is still there.

    Raises:
        BuildError: the entry is missing, a source does not parse, or a relative import leads nowhere.
    """
    root = (project_dir or Path.cwd()).absolute()
    file = normal_path(root / (entry or DEFAULT_ENTRY))
    if not file.is_file():
        raise BuildError(
            f"Build entry not found: {file}. Create src/arkor/index.py or pass an explicit entry argument."
        )
    tree = DiskTree(entry_root(file, root))
    name = PurePosixPath(file.relative_to(tree.root).as_posix())
    artifact = root / ARTIFACT
    try:
        write_atomically(artifact, _zip(name, _reached(tree, name)), mode=0o755)
    except OSError as exc:
        raise BuildError(f"{artifact} cannot be written: {exc.strerror}.") from exc
    return artifact


def _zip(entry: PurePosixPath, sources: dict[PurePosixPath, bytes]) -> bytes:
    buffer = io.BytesIO()
    buffer.write(b"#!/usr/bin/env python3\n")
    with zipfile.ZipFile(buffer, "a", zipfile.ZIP_STORED) as bundle:
        manifest = json.dumps({"entry": str(entry)}).encode()
        bundle.writestr(zipfile.ZipInfo("__main__.py", _EPOCH), _MAIN)
        bundle.writestr(zipfile.ZipInfo(MANIFEST_NAME, _EPOCH), manifest)
        for name in sorted(sources):
            bundle.writestr(zipfile.ZipInfo(f"{SOURCES_FOLDER}/{name}", _EPOCH), sources[name])
    return buffer.getvalue()


def _reached(tree: DiskTree, entry: PurePosixPath) -> dict[PurePosixPath, bytes]:
    """Return the entry and every source that relative imports reach from it."""
    sources: dict[PurePosixPath, bytes] = {}
    pending = [entry]
    while pending:
        name = pending.pop()
        content = None if name in sources else tree.read(name)
        if content is not None:
            sources[name] = content
            pending += [parent / "__init__.py" for parent in name.parents if parent.parts]
            pending += _imported(tree, name, content)
    return sources


def _imported(tree: DiskTree, name: PurePosixPath, content: bytes) -> Iterator[PurePosixPath]:
    file = tree.root / name
    try:
        module = ast.parse(content, str(file))
    except (SyntaxError, ValueError) as exc:
        raise BuildError(f"does not parse: {getattr(exc, 'msg', exc)}", file, getattr(exc, "lineno", None)) from exc
    for node in _relative_imports(module):
        try:
            yield from _targets(tree, name.parent, node)
        except LookupError as exc:
            raise BuildError(f"relative import {_spelt(node)}: {exc.args[0]}", file, node.lineno) from exc


def _relative_imports(node: ast.AST) -> Iterator[ast.ImportFrom]:
    """Yield the relative imports of a module, in functions too, but not those for the type checker only."""
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ImportFrom) and child.level:
            yield child
        elif isinstance(child, ast.If) and _is_type_checking(child.test):
            for branch in child.orelse:
                yield from _relative_imports(ast.Module([branch], []))
        else:
            yield from _relative_imports(child)


def _is_type_checking(test: ast.expr) -> bool:
    name = test.attr if isinstance(test, ast.Attribute) else getattr(test, "id", None)
    return name == "TYPE_CHECKING"


def _spelt(node: ast.ImportFrom) -> str:
    return f"'from {'.' * node.level}{node.module or ''} import …'"


def _targets(tree: DiskTree, package: PurePosixPath, node: ast.ImportFrom) -> Iterator[PurePosixPath]:
    """Yield the files that one relative import runs. Raises LookupError where there is none."""
    for _ in range(node.level - 1):
        if not package.parts:
            raise LookupError("it leads out of the project")
        package = package.parent
    base = package.joinpath(*node.module.split(".")) if node.module else package
    module = _module_file(tree, base) if base.parts else None
    if module is None and not tree.has_folder(base):
        raise LookupError(f"there is no {base}.py and no folder {base} in {tree.root}")
    if module is not None:
        yield module
    if module is not None and module.name != "__init__.py":
        return
    for alias in node.names:
        for wanted in _exported(tree, module) if alias.name == "*" else [alias.name]:
            submodule = _module_file(tree, base / wanted)
            if submodule is not None:
                yield submodule
            elif module is None and not tree.has_folder(base / wanted):
                raise LookupError(f"there is no {base / wanted}.py and no folder {base / wanted} in {tree.root}")


def _module_file(tree: DiskTree, name: PurePosixPath) -> PurePosixPath | None:
    for file in (name / "__init__.py", name.with_name(f"{name.name}.py")):
        if tree.read(file) is not None:
            return file
    return None


def _exported(tree: DiskTree, module: PurePosixPath | None) -> list[str]:
    """Return the names in a package's ``__all__``, where they are written out: a star import loads such submodules."""
    if module is None:
        return []
    for node in ast.walk(ast.parse(tree.read(module) or b"")):
        if isinstance(node, ast.Assign) and any(getattr(target, "id", "") == "__all__" for target in node.targets):
            items = node.value.elts if isinstance(node.value, (ast.List, ast.Tuple)) else []
            return [item.value for item in items if isinstance(item, ast.Constant) and isinstance(item.value, str)]
    return []

"""Which sources an entry reaches by relative imports, read off the sources without running them."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from arkor.entry.source_tree import SourceTree, module_file
from arkor.errors import BuildError

_BLOCKS = ("body", "orelse", "handlers", "finalbody", "cases")
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)
_CATCHES_IMPORT_ERROR = frozenset({"ImportError", "ModuleNotFoundError", "Exception", "BaseException"})


def reached(tree: SourceTree, entry: PurePosixPath) -> dict[PurePosixPath, bytes | None]:
    """Return the entry and all that relative imports reach from it: files with their content, folders with None.

    Raises:
        BuildError: a source cannot be read, does not parse, or imports relatively what is not there.
    """
    found: dict[PurePosixPath, bytes | None] = {}
    pending = [entry]
    while pending:
        name = pending.pop()
        if name in found:
            continue
        content = _read(tree, name)
        if content is not None or tree.has_folder(name):
            found[name] = content
            pending += [parent / "__init__.py" for parent in name.parents]
        if content is not None:
            pending += _imported(tree, name, content)
    return found


def _read(tree: SourceTree, name: PurePosixPath) -> bytes | None:
    try:
        return tree.read(name)
    except OSError as exc:
        raise BuildError(f"cannot be read: {exc.strerror}", tree.root / name) from exc


def _imported(tree: SourceTree, name: PurePosixPath, content: bytes) -> Iterator[PurePosixPath]:
    file = tree.root / name
    for node, is_optional in _relative_imports(_parse(content, file)):
        try:
            yield from _targets(tree, name.parent, node)
        except LookupError as exc:
            if not is_optional:
                raise BuildError(f"relative import {_spelt(node)}: {exc.args[0]}", file, node.lineno) from exc
        except OSError as exc:
            what = f"what it leads to cannot be read: {exc.strerror}"
            raise BuildError(f"relative import {_spelt(node)}: {what}", file, node.lineno) from exc


def _parse(content: bytes, file: Path) -> ast.Module:
    try:
        module = ast.parse(content, str(file))
        compile(module, str(file), "exec", dont_inherit=True)  # the grammar allows a return outside of a function
    except (SyntaxError, ValueError, RecursionError, MemoryError) as exc:
        what, line = getattr(exc, "msg", exc), getattr(exc, "lineno", None) or None
        raise BuildError(f"does not parse: {what}", file, line) from exc
    return module


def _relative_imports(module: ast.Module) -> Iterator[tuple[ast.ImportFrom, bool]]:
    """Yield the relative imports that may run, in functions too, each with whether the source does without it."""
    pending: list[tuple[ast.AST, bool]] = [(module, False)]
    while pending:
        node, is_optional = pending.pop()
        if isinstance(node, ast.ImportFrom) and node.level:
            yield node, is_optional
        pending += reversed(list(_statements(node, is_optional)))


def _statements(node: ast.AST, is_optional: bool) -> Iterator[tuple[ast.AST, bool]]:
    """Yield the statements in a statement's blocks, but not those for the type checker only."""
    for field in [field for field in _BLOCKS if field != _never_run(node)]:
        catches = field == "body" and any(_catches(handler) for handler in getattr(node, "handlers", []))
        for child in getattr(node, field, []):
            yield child, catches or (is_optional and not isinstance(node, _FUNCTIONS))


def _never_run(node: ast.AST) -> str | None:
    """Return the block that an ``if TYPE_CHECKING`` keeps from running."""
    if not isinstance(node, ast.If):
        return None
    test, block = node.test, "body"
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        test, block = test.operand, "orelse"
    return block if _last_name(test) == "TYPE_CHECKING" else None


def _catches(handler: ast.ExceptHandler) -> bool:
    """Say whether a handler catches that an import failed."""
    kinds = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(kind is None or _last_name(kind) in _CATCHES_IMPORT_ERROR for kind in kinds)


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")


def _spelt(node: ast.ImportFrom) -> str:
    return f"'from {'.' * node.level}{node.module or ''} import …'"


def _targets(tree: SourceTree, package: PurePosixPath, node: ast.ImportFrom) -> Iterator[PurePosixPath]:
    """Yield the files and folders that one relative import loads. Raises LookupError where there is none."""
    for _ in range(node.level - 1):
        if not package.parts:
            raise LookupError("it leads out of the project")
        package = package.parent
    base = package
    for part in node.module.split(".") if node.module else ():
        if base != package and _is_plain_module(tree, base):
            raise LookupError(f"{base}.py is a module, not a package")
        base /= part
        yield _module_or_folder(tree, base)
    if base != package and _is_plain_module(tree, base):
        return
    module = _module_or_folder(tree, base)
    for alias in node.names:
        for wanted in _exported(tree, module) if alias.name == "*" else [alias.name]:
            if module.name != "__init__.py" or _exists(tree, base / wanted):
                yield _module_or_folder(tree, base / wanted)


def _module_or_folder(tree: SourceTree, name: PurePosixPath) -> PurePosixPath:
    module = module_file(tree, name)
    if module is None and not tree.has_folder(name):
        raise LookupError(f"there is no {name}.py and no folder {name} in {tree.root}")
    return module or name


def _is_plain_module(tree: SourceTree, name: PurePosixPath) -> bool:
    module = module_file(tree, name)
    return module is not None and module.name != "__init__.py"


def _exists(tree: SourceTree, name: PurePosixPath) -> bool:
    return module_file(tree, name) is not None or tree.has_folder(name)


def _exported(tree: SourceTree, module: PurePosixPath) -> Iterator[str]:
    """Yield the names that are written out for a package's ``__all__``: a star import loads such submodules."""
    content = tree.read(module) if module.name == "__init__.py" else None
    for statement in ast.walk(_parse(content or b"", tree.root / module)):
        if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.AugAssign, ast.Expr)):
            inside = list(ast.walk(statement))
            if any(isinstance(node, ast.Name) and node.id == "__all__" for node in inside):
                values = [node.value for node in inside if isinstance(node, ast.Constant)]
                yield from (value for value in values if isinstance(value, str) and value.isidentifier())

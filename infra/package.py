"""``make package``: one zip for each function, the same bytes for the same sources.

A zip holds the modules that its function imports, its data, the requirements, and a
``main.py`` at its root, where the buildpack looks for the entry point. Its name has the
hash of its content, so that Terraform deploys what has changed and nothing else.
"""

from __future__ import annotations

import ast
import io
import json
import sys
import zipfile
from hashlib import sha256
from pathlib import Path

from infra import topology

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
# The oldest time that a zip knows: when a file was written is no part of what it says.
WRITTEN = (1980, 1, 1, 0, 0, 0)
READABLE = 0o644 << 16
HASH_CHARACTERS = 12
# Every version with its hashes, made by make lock.
LOCKS = ROOT / "locks"
# What a function's folder may hold beside its modules.
DATA_SUFFIXES = {".css", ".csv", ".html", ".js", ".json", ".svg", ".txt"}


def main() -> int:
    """Build all zips, and the list that Terraform reads."""
    packages = build(topology.load(), BUILD)
    for name, file_name in packages.items():
        size = (BUILD / file_name).stat().st_size
        print(f"{name}: build/{file_name}, {size:,} bytes")
    return 0


def build(pipeline: topology.Topology, directory: Path) -> dict[str, str]:
    """Write a zip for each source and one for each job; return their names.

    A source that is deployed several times has one zip.
    """
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.zip"):
        old.unlink()
    sources = {each.source: each for each in pipeline.functions.values()}
    contents = {source: package(function) for source, function in sources.items()}
    contents["export"] = package_export()
    contents["migrate"] = package_migration()
    packages = {}
    for name, content in contents.items():
        digest = sha256(content).hexdigest()[:HASH_CHARACTERS]
        packages[name] = f"{name}-{digest}.zip"
        (directory / packages[name]).write_bytes(content)
    listed = json.dumps(packages, indent=2) + "\n"
    (directory / "packages.json").write_text(listed, encoding="utf-8")
    return packages


def package_export() -> bytes:
    """The zip of the job that exports candles: the reader, and the core beside it."""
    reader = ROOT / "reader"
    modules = imported_by(*(reader / "tradesmart").glob("*.py"))
    own = {module for module in modules if module.is_relative_to(reader)}
    return _job_zip(
        _contents(own, reader) | _contents(modules - own),
        lock="export",
        process="export",
        command="python -m tradesmart export $EXPORT_TO",
    )


def package_migration() -> bytes:
    """The zip of the job that migrates: Alembic finds its migrations by their path."""
    migrations = ROOT / "infra" / "migrations"
    modules = imported_by(ROOT / "infra" / "migrate.py", *migrations.rglob("*.py"))
    return _job_zip(
        _contents({*modules, migrations / "alembic.ini"}),
        lock="job",
        process="migrate",
        command="python -m infra.migrate",
    )


def _job_zip(
    contents: dict[str, bytes], *, lock: str, process: str, command: str
) -> bytes:
    """A job's own process, as web too: without that the buildpack builds nothing."""
    contents["Procfile"] = f"web: {command}\n{process}: {command}\n".encode()
    contents["requirements.txt"] = (LOCKS / f"{lock}.txt").read_bytes()
    return _zip(contents)


def package(function: topology.Function) -> bytes:
    """The zip of one function."""
    contents = _contents(_sources(function))
    contents["main.py"] = entry_point(function).encode()
    contents["requirements.txt"] = (LOCKS / "functions.txt").read_bytes()
    return _zip(contents)


def _contents(paths: set[Path], root: Path = ROOT) -> dict[str, bytes]:
    return {path.relative_to(root).as_posix(): path.read_bytes() for path in paths}


def _zip(contents: dict[str, bytes]) -> bytes:
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, WRITTEN)
            entry.external_attr = READABLE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents[name])
    return written.getvalue()


def _sources(function: topology.Function) -> set[Path]:
    """All files that the function needs, and no other."""
    folder = ROOT / "functions" / function.source
    data = {path for path in folder.rglob("*") if path.suffix in DATA_SUFFIXES}
    return {*imported_by(folder / "main.py"), *data}


def imported_by(*modules: Path) -> set[Path]:
    """These modules and all of ours that they import, at once or when called.

    Raises:
        FileNotFoundError: If one of ``modules`` does not exist.
    """
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        module = waiting.pop()
        if module in found:
            continue
        found.add(module)
        names = _imports(ast.parse(module.read_text(encoding="utf-8")))
        waiting += [path for name in names for path in _modules_of(name)]
    return found


def _imports(node: ast.AST) -> set[str]:
    """The dotted names that the code imports, but for type checkers only."""
    names: set[str] = set()
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.Import):
            names |= {alias.name for alias in child.names}
        elif isinstance(child, ast.ImportFrom):
            names |= {f"{child.module}.{alias.name}" for alias in child.names}
        elif not _is_for_type_checkers(child):
            names |= _imports(child)
    return names


def _is_for_type_checkers(node: ast.AST) -> bool:
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def _modules_of(name: str) -> list[Path]:
    """The files that are run to import a dotted name, none if it is not of ours."""
    parts = name.split(".")
    places = [ROOT.joinpath(*parts[:depth]) for depth in range(1, len(parts) + 1)]
    files = [
        file
        for place in places
        for file in (place / "__init__.py", place.with_suffix(".py"))
    ]
    return [file for file in files if file.exists()]


def entry_point(function: topology.Function) -> str:
    """The text of the ``main.py`` that starts a function."""
    name, target = function.source, function.entry_point
    return (
        f'"""Where the buildpack finds {name}."""\n\n'
        "import gc\n\n"
        # A cold start creates some hundred thousand objects that all stay: to collect
        # garbage among them takes a tenth of its time. ``freeze_gc`` ends this.
        "gc.set_threshold(200_000, 10, 10)\n\n"
        f"from functions.{name}.main import {target}\n\n"
        f'__all__ = ["{target}"]\n'
    )


if __name__ == "__main__":
    sys.exit(main())

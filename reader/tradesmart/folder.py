"""A folder that an export lies in; files appear in it whole, or not at all."""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tradesmart.errors import SourceUnavailable

if TYPE_CHECKING:
    from collections.abc import Iterator

# What a killed export leaves; the next one takes it away.
UNFINISHED = ".unfinished-"


class Folder:
    """Files by their path below a folder of this machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.name = str(path)

    def paths(self) -> dict[str, tuple[int, float]]:
        """All files with their size in bytes and when they were written (Unix time)."""
        found = {}
        for file in self._path.rglob("*"):
            if file.is_file() and not file.name.startswith(UNFINISHED):
                status = file.stat()
                path = file.relative_to(self._path).as_posix()
                found[path] = (status.st_size, status.st_mtime)
        return found

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""
        try:
            return (self._path / path).read_bytes()
        except FileNotFoundError:
            return None
        except OSError as error:
            reason = error.strerror or type(error).__name__
            message = (
                f"{self.name}/{path} cannot be read: {reason}; name the folder that an "
                "export was written to"
            )
            raise SourceUnavailable(message) from None

    def local(self, path: str, size: int) -> Path | None:
        """The file on this machine; None if it is not there, or not of this size."""
        file = self._path / path
        try:
            return file if file.stat().st_size == size else None
        except OSError:
            return None

    @contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A file to write, which gets its name when all of it is on the disk."""
        to = self._path / path
        to.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(prefix=UNFINISHED, dir=to.parent)
        os.close(handle)
        unfinished = Path(name)
        try:
            yield unfinished
            # Only its owner may read what mkstemp makes.
            unfinished.chmod(0o644)
            with unfinished.open("rb+") as file:
                os.fsync(file.fileno())
            unfinished.replace(to)
        finally:
            unfinished.unlink(missing_ok=True)

    def write_latest(self, path: str, content: bytes) -> None:
        """Replace a file that others read at any moment."""
        with self.writing(path) as file:
            file.write_bytes(content)

    def remove(self, path: str) -> None:
        """Remove a file, and the folders that are empty then."""
        file = self._path / path
        file.unlink(missing_ok=True)
        for folder in file.parents:
            if folder == self._path or any(folder.iterdir()):
                return
            folder.rmdir()

    def remove_unfinished(self) -> None:
        """Remove what an export that was killed has left."""
        for file in self._path.rglob(f"{UNFINISHED}*"):
            file.unlink(missing_ok=True)

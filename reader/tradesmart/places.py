"""Where exports lie: a folder, or a bucket."""

from __future__ import annotations

import os
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol

from tradesmart.errors import SourceUnavailable
from tradesmart.folder import Folder

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager

BUCKET = "gs://"
LOCK = ".lock"


class Place(Protocol):
    """Files by their path."""

    name: str

    def paths(self) -> dict[str, tuple[int, float]]:
        """All files with their size in bytes and when they were written (Unix time)."""

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""

    def local(self, path: str, size: int) -> Path | None:
        """The file on this machine; None if it is not there, or not of this size."""

    def writing(self, path: str) -> AbstractContextManager[Path]:
        """A file to write, which gets its name when it is whole."""

    def write_latest(self, path: str, content: bytes) -> None:
        """Replace a file that others read at any moment."""

    def remove(self, path: str) -> None:
        """Remove a file."""


@contextmanager
def open_place(to: str | os.PathLike[str], *, writing: bool = False) -> Iterator[Place]:
    """Open a folder or a bucket; for writing, alone.

    Raises:
        SourceUnavailable: If it is not there, or another export is at work in it.
    """
    named = os.fspath(to)
    if not named:
        message = "name a folder or a bucket: make export TO=folder, or TO=gs://bucket"
        raise SourceUnavailable(message)
    if named.startswith(BUCKET):
        # Needs google-cloud-storage, which a folder does without.
        from tradesmart.bucket import open_bucket  # noqa: PLC0415

        with open_bucket(named) as bucket:
            yield bucket
        return
    folder = Path(named).expanduser().absolute()
    if not writing:
        yield Folder(folder)
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / LOCK).open("a")
    except OSError as error:
        message = f"{folder} cannot be written: {error.strerror}; choose another folder"
        raise SourceUnavailable(message) from None
    with lock:
        try:
            _lock(lock)
        except OSError:
            message = f"another export is at work in {folder}; wait until it is done"
            raise SourceUnavailable(message) from None
        place = Folder(folder)
        place.remove_unfinished()
        yield place


def _lock(file: IO[str]) -> None:
    """Keep others out until the file is closed; on Windows, no one is kept out.

    Raises:
        OSError: If another process has locked it.
    """
    with suppress(ImportError):
        import fcntl  # noqa: PLC0415

        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)

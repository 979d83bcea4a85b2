"""``make emulator``: fetch Google's Pub/Sub emulator into ``.local``."""

from __future__ import annotations

import argparse
import hashlib
import shutil
import sys
import zipfile
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TransferSpeedColumn,
)

from infra.local import emulator

if TYPE_CHECKING:
    from collections.abc import Sequence

CHUNK_BYTES = 256 * 1024
TIMEOUT_SECONDS = (10, 30)


@dataclass(frozen=True, slots=True)
class Archive:
    """A zip file and what it must be."""

    url: str
    size: int
    sha256: str

    @property
    def name(self) -> str:
        """The name of the file."""
        return PurePosixPath(urlsplit(self.url).path).name


# As firebase-tools pins it (src/emulator/downloadableEmulatorInfo.json).
EMULATOR = Archive(
    "https://storage.googleapis.com/firebase-preview-drop/emulator/"
    "pubsub-emulator-0.8.30.zip",
    52_917_173,
    "aabf028a55ec3f06fe2223471dad26623be542848abebd7563f8f0b8697dd2a3",
)


class NotFetched(Exception):
    """The archive could not be fetched, or is not what it must be."""


def fetch(archive: Archive, folder: Path, console: Console) -> Path:
    """Download, check and unpack ``archive`` in place of ``folder``; return its jar.

    Raises:
        NotFetched: If anything about it is wrong; ``folder`` is then as it was.
    """
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(dir=folder.parent, prefix="fetching-") as name:
        downloaded, unpacked = Path(name) / archive.name, Path(name) / "unpacked"
        _download(archive, downloaded, console)
        _unpack(downloaded, unpacked)
        shutil.rmtree(folder, ignore_errors=True)
        unpacked.rename(folder)
    return next(folder.rglob(emulator.JAR))


def _download(archive: Archive, target: Path, console: Console) -> None:
    host = urlsplit(archive.url).netloc
    digest, size = hashlib.sha256(), 0
    try:
        with (
            requests.get(archive.url, stream=True, timeout=TIMEOUT_SECONDS) as reply,
            target.open("wb") as file,
            _progress(console) as progress,
        ):
            reply.raise_for_status()
            task = progress.add_task(archive.name, total=archive.size)
            for chunk in reply.iter_content(CHUNK_BYTES):
                size += len(chunk)
                if size > archive.size:
                    break
                digest.update(chunk)
                file.write(chunk)
                progress.update(task, completed=size)
    except requests.HTTPError as error:
        status = error.response.status_code
        raise NotFetched(f"{host} answers {status} for {archive.name}") from error
    except requests.RequestException as error:
        raise NotFetched(f"{host} cannot be reached") from error
    if size != archive.size:
        found = f"{size:,}" if size < archive.size else "more"
        message = f"{archive.name} must have {archive.size:,} bytes, not {found}"
        raise NotFetched(message)
    if digest.hexdigest() != archive.sha256:
        raise NotFetched(f"{archive.name} has the wrong SHA-256 sum")


def _unpack(downloaded: Path, folder: Path) -> None:
    try:
        with zipfile.ZipFile(downloaded) as archive:
            for name in archive.namelist():
                path = PurePosixPath(name.replace("\\", "/"))
                if path.is_absolute() or ".." in path.parts or ":" in name:
                    raise NotFetched(f"the archive would write outside: {name!r}")
            archive.extractall(folder)
    except zipfile.BadZipFile as error:
        message = f"{downloaded.name} is not a zip file"
        raise NotFetched(message) from error
    if not any(folder.rglob(emulator.JAR)):
        raise NotFetched(f"the archive has no {emulator.JAR} in it")


def _progress(console: Console) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn())
    return Progress(*columns, DownloadColumn(), TransferSpeedColumn(), console=console)


def main(arguments: Sequence[str] | None = None) -> int:
    """Fetch it; return the exit status."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", default=EMULATOR.url, help="where to fetch it from")
    options = parser.parse_args(arguments)
    archive = Archive(options.url, EMULATOR.size, EMULATOR.sha256)
    console = Console(highlight=False)
    try:
        jar = fetch(archive, emulator.FETCHED, console)
        console.print(f"fetched {jar.name}")
        found = emulator.find()
    except KeyboardInterrupt:
        console.print("stopped; nothing was changed")
        return 130
    except NotFetched as error:
        console.print(f"not fetched: {error}; without it the embedded Pub/Sub is used")
        return 1
    except OSError as error:
        console.print(f"not fetched: {error.strerror}: {error.filename}")
        return 1
    except emulator.JavaMissing as error:
        console.print(str(error))
        return 0
    console.print(f"make dev will run it with {found.java}")
    return 0


if __name__ == "__main__":
    sys.exit(main())

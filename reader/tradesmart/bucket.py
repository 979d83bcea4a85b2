"""A bucket of Cloud Storage that an export lies in.

Files are downloaded once: under the same name there is never anything else.
"""

from __future__ import annotations

import os
import tempfile
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from tradesmart.errors import SourceUnavailable
from tradesmart.folder import Folder
from tradesmart.layout import LATEST

if TYPE_CHECKING:
    from collections.abc import Iterator

    from google.api_core.retry import Retry
    from google.cloud.storage import Blob
    from google.cloud.storage import Bucket as CloudBucket

# For one answer, and for all attempts at one request.
SECONDS = 60
PATIENCE = 120
# A chunk that fails is sent again, and not the whole file.
CHUNK = 8 * 1024 * 1024
CACHE = "TRADESMART_CACHE"


@contextmanager
def open_bucket(url: str) -> Iterator[Bucket]:
    """Open ``gs://bucket/path``.

    Raises:
        SourceUnavailable: If it cannot be reached, or is not allowed.
    """
    try:
        from google.api_core.exceptions import GoogleAPIError  # noqa: PLC0415
        from google.auth.exceptions import GoogleAuthError  # noqa: PLC0415
        from google.cloud.storage import Client  # noqa: PLC0415
        from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415
        from requests.exceptions import RequestException  # noqa: PLC0415
    except ImportError:
        message = f"{url} needs google-cloud-storage: pip install google-cloud-storage"
        raise SourceUnavailable(message) from None
    name, _, prefix = url.removeprefix("gs://").strip("/").partition("/")
    retry = DEFAULT_RETRY.with_timeout(PATIENCE)
    try:
        yield Bucket(Client().bucket(name), prefix, url.rstrip("/"), retry)
    except (GoogleAPIError, GoogleAuthError, RequestException, OSError) as error:
        told = str(error).strip().splitlines() or [type(error).__name__]
        raise SourceUnavailable(
            f"{url} cannot be used: {told[0].rstrip('.')}; check the name, your login "
            "(gcloud auth application-default login) and your role"
        ) from None


class Bucket:
    """Files by their path below a prefix of a bucket."""

    def __init__(
        self, bucket: CloudBucket, prefix: str, name: str, retry: Retry
    ) -> None:
        self.name = name
        self._options = {"timeout": SECONDS, "retry": retry}
        self._bucket = bucket
        self._prefix = f"{prefix}/" if prefix else ""
        folder = os.environ.get(CACHE) or Path.home() / ".cache" / "tradesmart"
        self._cache = Folder(Path(folder) / bucket.name / prefix)
        # Of the manifest that was read; 0 stands for none.
        self._generation = 0

    def paths(self) -> dict[str, tuple[int, float]]:
        """All files with their size in bytes and when they were written (Unix time)."""
        blobs = self._bucket.list_blobs(prefix=self._prefix, **self._options)
        return {
            blob.name.removeprefix(self._prefix): (blob.size, blob.updated.timestamp())
            for blob in blobs
        }

    def read(self, path: str) -> bytes | None:
        """The content of a file, None if there is none."""
        blob = self._bucket.get_blob(self._prefix + path, **self._options)
        if blob is None:
            return None
        if path == LATEST:
            self._generation = blob.generation
        content: bytes = blob.download_as_bytes(
            if_generation_match=blob.generation, **self._options
        )
        return content

    def local(self, path: str, size: int) -> Path | None:
        """The file on this machine; None if it is not there, or not of this size."""
        from google.api_core.exceptions import NotFound  # noqa: PLC0415

        if (known := self._cache.local(path, size)) is not None:
            return known
        try:
            with self._cache.writing(path) as file:
                blob = self._bucket.blob(self._prefix + path)
                blob.download_to_filename(str(file), **self._options)
        except NotFound:
            return None
        return self._cache.local(path, size)

    @contextmanager
    def writing(self, path: str) -> Iterator[Path]:
        """A file to write, which is uploaded when it is whole."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder) / "content"
            yield file
            self._blob(path).upload_from_filename(str(file), **self._options)

    def write_latest(self, path: str, content: bytes) -> None:
        """Replace a file that others read at any moment.

        Raises:
            SourceUnavailable: If another export has replaced the manifest meanwhile.
        """
        from google.api_core.exceptions import PreconditionFailed  # noqa: PLC0415

        expected = self._generation if path == LATEST else None
        try:
            self._blob(path).upload_from_string(
                content,
                content_type="application/json",
                if_generation_match=expected,
                **self._options,
            )
        except PreconditionFailed:
            message = f"another export has written to {self.name} meanwhile; try again"
            raise SourceUnavailable(message) from None

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._blob(path).delete(**self._options)

    def _blob(self, path: str) -> Blob:
        return self._bucket.blob(self._prefix + path, chunk_size=CHUNK)

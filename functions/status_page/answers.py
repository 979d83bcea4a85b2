"""Answers: kept while nothing changes, compressed, with the headers of security."""

from __future__ import annotations

import gzip
import json
import zlib
from collections import OrderedDict
from dataclasses import dataclass
from hashlib import sha256
from threading import Lock
from typing import TYPE_CHECKING

from flask import Response, request

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

SECURITY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; "
        "img-src 'self' data:; connect-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
}
REVALIDATE = "no-cache"
FOREVER = "public, max-age=31536000, immutable"
# A shorter answer is not worth compressing.
WORTH_COMPRESSING = 1024
COMPRESSION = 5
# As zlib knows it, with its largest window.
GZIP_FORMAT = 16 + zlib.MAX_WBITS
# Answers that are kept for as long as nothing is committed.
MOST_KEPT = 24


@dataclass(slots=True)
class _Kept:
    """An answer that holds while the database is as it was."""

    body: bytes
    content_type: str


class AnswerCache:
    """The last answers by their ETags, so that two viewers cost no more than one."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._lock = Lock()
        # What takes long is computed one after another: it must not take the pool.
        self.heavy = Lock()

    def get(self, etag: str) -> _Kept | None:
        """The answer of an ETag, if it is still kept."""
        with self._lock:
            kept = self._kept.get(etag)
            if kept:
                self._kept.move_to_end(etag)
            return kept

    def put(self, etag: str, kept: _Kept) -> None:
        """Keep an answer, and drop the one that was not asked for longest."""
        with self._lock:
            self._kept[etag] = kept
            while len(self._kept) > MOST_KEPT:
                self._kept.popitem(last=False)


def conditional(
    cache: AnswerCache,
    state: str,
    build: Callable[[], tuple[bytes, str]],
    *,
    is_heavy: bool = False,
) -> Response:
    """Answer 304 where the client has it already; else build, or take what is kept.

    ``state`` changes with everything that the answer depends on, beside the URL and
    the language.
    """
    etag = _etag(state)
    if request.if_none_match.contains_weak(etag):
        return _with_etag(Response(status=304), etag)
    kept = cache.get(etag)
    if kept is None and is_heavy:
        with cache.heavy:
            kept = cache.get(etag) or _built(cache, etag, build)
    elif kept is None:
        kept = _built(cache, etag, build)
    return _with_etag(Response(kept.body, content_type=kept.content_type), etag)


def conditional_stream(state: str, build: Callable[[], Response]) -> Response:
    """Answer 304 where the client has it already; else what is built, which streams."""
    etag = _etag(state)
    if request.if_none_match.contains_weak(etag):
        return _with_etag(Response(status=304), etag)
    return _with_etag(build(), etag)


def _etag(state: str) -> str:
    language = request.headers.get("Accept-Language", "")
    # An answer names the next page by a full URL: that of one host is not another's.
    told = f"{state}\n{request.host_url}\n{request.full_path}\n{language}"
    return sha256(told.encode("utf-8", "replace")).hexdigest()[:20]


def _built(
    cache: AnswerCache, etag: str, build: Callable[[], tuple[bytes, str]]
) -> _Kept:
    kept = _Kept(*build())
    cache.put(etag, kept)
    return kept


def _with_etag(response: Response, etag: str) -> Response:
    response.set_etag(etag, weak=True)
    response.headers["Cache-Control"] = REVALIDATE
    response.headers["Vary"] = "Accept-Encoding, Accept-Language, Accept"
    return response


def as_json(value: object) -> tuple[bytes, str]:
    """A value as the body of an answer."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    return text.encode(), "application/json"


def finish(response: Response) -> Response:
    """Compress the answer where that pays, and add the headers of security."""
    for name, value in SECURITY.items():
        response.headers.setdefault(name, value)
    response.headers.setdefault("Cache-Control", "no-store")
    if request.accept_encodings["gzip"] <= 0:
        return response
    if response.is_streamed:
        response.response = _compressed(response.iter_encoded())
    elif len(response.get_data()) >= WORTH_COMPRESSING:
        packed = gzip.compress(response.get_data(), COMPRESSION, mtime=0)
        response.set_data(packed)
    else:
        return response
    response.headers["Content-Encoding"] = "gzip"
    response.headers.setdefault("Vary", "Accept-Encoding")
    return response


def _compressed(parts: Iterable[bytes]) -> Iterator[bytes]:
    """A stream in the format of gzip, as it comes."""
    packer = zlib.compressobj(COMPRESSION, zlib.DEFLATED, GZIP_FORMAT)
    for part in parts:
        yield packer.compress(part)
    yield packer.flush()

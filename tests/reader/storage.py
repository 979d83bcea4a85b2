"""A stand-in for the JSON API of Cloud Storage: objects, generations, conditions."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import re
from dataclasses import dataclass
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c

OBJECT = re.compile(r"/(?:download/)?storage/v1/b/([^/]+)/o/(.+)")
LIST = re.compile(r"/storage/v1/b/([^/]+)/o")
UPLOAD = re.compile(r"/(?:resumable/)?upload/storage/v1/b/([^/]+)/o")


@dataclass
class Object:
    name: str
    content: bytes
    generation: int
    updated: datetime

    @property
    def hashes(self):
        sums = {
            "md5": hashlib.md5(self.content, usedforsecurity=False).digest(),
            "crc32c": google_crc32c.value(self.content).to_bytes(4, "big"),
        }
        return {name: base64.b64encode(value).decode() for name, value in sums.items()}

    def described(self):
        return {
            "kind": "storage#object",
            "name": self.name,
            "size": f"{len(self.content)}",
            "generation": f"{self.generation}",
            "updated": f"{self.updated:%Y-%m-%dT%H:%M:%S.%fZ}",
            "md5Hash": self.hashes["md5"],
            "crc32c": self.hashes["crc32c"],
        }


class Storage(ThreadingHTTPServer):
    """One bucket; ``before_write`` is told of each object before it is written."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Answer)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.objects, self.uploads = {}, {}
        self.generations = itertools.count(1)
        self.before_write = lambda name: None
        self.downloads = []

    def write(self, name, content):
        self.objects[name] = Object(
            name, content, next(self.generations), datetime.now(UTC)
        )
        return self.objects[name]


class _Answer(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        path, query = self._asked()
        if match := OBJECT.fullmatch(path):
            found = self.server.objects.get(unquote(match[2]))
            if found is None:
                self._send(404, {"error": {"message": "No such object"}})
            elif query.get("alt") == "media":
                self.server.downloads.append(found.name)
                told = ",".join(f"{name}={told}" for name, told in found.hashes.items())
                self._raw(200, found.content, **{"x-goog-hash": told})
            else:
                self._send(200, found.described())
        elif LIST.fullmatch(path):
            found = self.server.objects.values()
            prefix = query.get("prefix", "")
            items = [o.described() for o in found if o.name.startswith(prefix)]
            self._send(200, {"kind": "storage#objects", "items": items})

    def do_POST(self):
        path, query = self._asked()
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        assert UPLOAD.fullmatch(path), path
        if query["uploadType"] == "multipart":
            kind = self.headers["content-type"].encode()
            parts = message_from_bytes(b"content-type: " + kind + b"\n\n" + body)
            told, content = (p.get_payload(decode=True) for p in parts.get_payload())
            self._write(json.loads(told)["name"], content, query)
            return
        number = f"{len(self.server.uploads)}"
        name = query.get("name") or json.loads(body)["name"]
        self.server.uploads[number] = (name, bytearray(), query)
        location = f"{self.server.url}{path}?uploadType=resumable&upload_id={number}"
        self._send(200, {}, location=location)

    def do_PUT(self):
        _, query = self._asked()
        name, content, asked = self.server.uploads[query["upload_id"]]
        content += self.rfile.read(int(self.headers["content-length"]))
        total = self.headers["content-range"].rpartition("/")[2]
        if total == "*" or len(content) < int(total):
            self._send(308, {}, range=f"bytes=0-{len(content) - 1}")
        else:
            self._write(name, bytes(content), asked)

    def do_DELETE(self):
        path, _ = self._asked()
        found = self.server.objects.pop(unquote(OBJECT.fullmatch(path)[2]), None)
        self._raw(204 if found else 404, b"")

    def _write(self, name, content, query):
        self.server.before_write(name)
        known = self.server.objects.get(name)
        wanted = query.get("ifGenerationMatch")
        if wanted is not None and int(wanted) != (known.generation if known else 0):
            self._send(412, {"error": {"message": "conditionNotMet"}})
            return
        self._send(200, self.server.write(name, content).described())

    def _asked(self):
        parts = urlsplit(self.path)
        query = parse_qs(parts.query)
        return parts.path, {name: values[-1] for name, values in query.items()}

    def _send(self, status, content, **headers):
        self._raw(status, json.dumps(content).encode(), **headers)

    def _raw(self, status, content, **headers):
        self.send_response(status)
        self.send_header("content-length", f"{len(content)}")
        for name, value in headers.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        """Say nothing."""

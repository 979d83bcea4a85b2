"""``make emulator`` against a stand-in for Google's download server."""

from __future__ import annotations

import hashlib
import io
import itertools
import zipfile
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import pytest
from rich.console import Console

from infra.local import emulator, fetch_emulator
from infra.local.fetch_emulator import EMULATOR, Archive, NotFetched, fetch
from tests.support.servers import free_port

JAR = "pubsub-emulator/lib/cloud-pubsub-emulator-0.8.30-all.jar"


@contextmanager
def serving(content, status=200):
    """The URL of a file."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(status)
            self.send_header("content-length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_):
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_address[1]}/pubsub-emulator.zip"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def zipped(**files):
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return buffer.getvalue()


def fetched(folder, content, *, size=None, sha256=None, status=200):
    with serving(content, status) as url:
        archive = Archive(
            url,
            len(content) if size is None else size,
            sha256 or hashlib.sha256(content).hexdigest(),
        )
        return fetch(archive, folder, Console(quiet=True))


def test_the_archive_is_unpacked_and_its_jar_is_found(tmp_path):
    folder = tmp_path / "local" / "emulator"

    jar = fetched(folder, zipped(**{JAR: "jar", "pubsub-emulator/NOTICE": "text"}))

    assert jar == folder / JAR
    assert jar.read_text() == "jar"
    assert [path.name for path in folder.parent.iterdir()] == ["emulator"]


def test_a_fetched_emulator_is_replaced(tmp_path):
    folder = tmp_path / "emulator"
    fetched(folder, zipped(**{JAR: "old", "old": ""}))

    fetched(folder, zipped(**{JAR: "new"}))

    assert (folder / JAR).read_text() == "new"
    assert not (folder / "old").exists()


GOOD = zipped(**{JAR: "jar"})


@pytest.mark.parametrize(
    ("content", "wrong", "problem"),
    [
        (GOOD, {"size": len(GOOD) + 1}, "must have .* bytes, not"),
        (GOOD, {"size": len(GOOD) - 1}, "must have .* bytes, not more"),
        (GOOD, {"sha256": "0" * 64}, "wrong SHA-256 sum"),
        (GOOD, {"status": 404}, r"127.0.0.1:\d+ answers 404 for pubsub-emulator.zip"),
        (b"no zip", {}, "is not a zip file"),
        (zipped(other="x"), {}, "has no cloud-pubsub-emulator"),
        (zipped(**{JAR: "jar", "../evil": "x"}), {}, "write outside: '../evil'"),
        (zipped(**{JAR: "jar", "/tmp/evil": "x"}), {}, "write outside: '/tmp/evil'"),
        (zipped(**{JAR: "jar", "a\\..\\..\\evil": ""}), {}, "write outside"),
    ],
    ids=itertools.count(1),
)
def test_what_is_wrong_is_not_unpacked(tmp_path, content, wrong, problem):
    folder = tmp_path / "local" / "emulator"
    fetched(folder, GOOD)

    with pytest.raises(NotFetched, match=problem):
        fetched(folder, content, **wrong)

    assert (folder / JAR).read_text() == "jar"
    assert [path.name for path in folder.parent.iterdir()] == ["emulator"]
    assert not (tmp_path / "evil").exists()


def run(monkeypatch, capsys, folder, url):
    monkeypatch.setattr(emulator, "FETCHED", folder)
    status = fetch_emulator.main(["--url", url])
    return status, capsys.readouterr().out


def test_offline_is_one_sentence(tmp_path, monkeypatch, capsys):
    url = f"http://127.0.0.1:{free_port()}/pubsub-emulator.zip"

    status, out = run(monkeypatch, capsys, tmp_path / "emulator", url)

    assert status == 1
    text = " ".join(out.split())
    assert "cannot be reached; without it the embedded Pub/Sub is used" in text
    assert "Traceback" not in text


def test_what_was_fetched_is_what_runs(tmp_path, monkeypatch, capsys):
    pinned = Archive(EMULATOR.url, len(GOOD), hashlib.sha256(GOOD).hexdigest())
    monkeypatch.setattr(fetch_emulator, "EMULATOR", pinned)
    monkeypatch.setattr(emulator, "_javas", lambda: ["java"])
    monkeypatch.setattr(emulator, "_is_new_enough", lambda _: True)

    with serving(GOOD) as url:
        status, out = run(monkeypatch, capsys, tmp_path / "emulator", url)

    assert status == 0
    assert "fetched cloud-pubsub-emulator-0.8.30-all.jar" in " ".join(out.split())
    assert emulator.find().jar == tmp_path / "emulator" / JAR

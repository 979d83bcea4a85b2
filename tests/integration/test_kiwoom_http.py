"""The HTTP session of the broker's client, on servers of this machine."""

from __future__ import annotations

import socket
import ssl
import time
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from threading import Event, Thread, Timer

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from infra.local.processes import free_port
from shared.errors import KiwoomUnavailable
from shared.kiwoom import wire
from shared.kiwoom.wire import decode, new_http_session, post

ENVIRONMENT = (
    *("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NETRC"),
    *("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "SSL_CERT_FILE"),
)
BEARER = {"authorization": "Bearer token"}


@pytest.fixture(autouse=True)
def environment(monkeypatch, tmp_path):
    """An environment without proxies, bundles and passwords, to add to."""
    for name in ENVIRONMENT:
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.lower(), raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    return monkeypatch


class Handler(BaseHTTPRequestHandler):
    def do_POST(self):
        self.server.seen.append((self.path, self.headers["authorization"]))
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, *args):
        """Tests read what was seen instead."""


@contextmanager
def serving(context=None):
    """A server that notes path and authorization of what it was asked."""
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.seen = []
        if context:
            server.socket = context.wrap_socket(server.socket, server_side=True)
        thread = Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.fixture
def server():
    with serving() as server:
        yield server


def url(server, scheme="http"):
    return f"{scheme}://127.0.0.1:{server.server_port}/x"


def send(to):
    with new_http_session() as http:
        return post(http, to, BEARER, {"stk_cd": "005930"})


@pytest.mark.parametrize("place", [".netrc", "_netrc", "NETRC"])
def test_a_strangers_password_does_not_replace_the_token(
    server, environment, tmp_path, place
):
    passwords = tmp_path / place
    passwords.write_text("machine 127.0.0.1 login stranger password secret\n")
    if place == "NETRC":
        environment.setenv("NETRC", str(passwords))

    send(url(server))

    assert server.seen == [("/x", "Bearer token")]


def test_a_password_in_the_address_does_not_replace_the_token(server):
    send(url(server).replace("//", "//stranger:secret@"))

    assert server.seen == [("/x", "Bearer token")]


@pytest.mark.parametrize("name", ["HTTP_PROXY", "http_proxy", "ALL_PROXY"])
def test_a_proxy_of_the_environment_is_used(server, environment, name):
    environment.setenv(name, url(server))

    send("http://api.example.test/x")

    assert server.seen == [("http://api.example.test/x", "Bearer token")]


def test_a_host_that_needs_no_proxy_is_asked_directly(server, environment):
    environment.setenv("HTTP_PROXY", f"http://127.0.0.1:{free_port()}")
    environment.setenv("NO_PROXY", "127.0.0.1")

    send(url(server))

    assert server.seen == [("/x", "Bearer token")]


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """A self-signed certificate of 127.0.0.1, with its key in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))]),
            critical=False,
        )
        .sign(key, hashes.SHA256())
    )
    path = tmp_path_factory.mktemp("tls") / "server.pem"
    encoding = serialization.Encoding.PEM
    path.write_bytes(
        signed.public_bytes(encoding)
        + key.private_bytes(
            encoding,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return path


@pytest.fixture
def tls_server(certificate):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate)
    with serving(context) as server:
        yield server


@pytest.mark.parametrize("name", ["REQUESTS_CA_BUNDLE", "SSL_CERT_FILE"])
def test_a_ca_bundle_of_the_environment_is_trusted(
    tls_server, environment, certificate, name
):
    environment.setenv(name, str(certificate))

    assert send(url(tls_server, "https")).status_code == 200


def test_a_certificate_that_is_not_trusted_is_named(tls_server):
    with pytest.raises(KiwoomUnavailable, match=r"127\.0\.0\.1: TLS: self-signed"):
        send(url(tls_server, "https"))

    assert not tls_server.seen


def test_a_bundle_that_is_not_there_is_named(tls_server, environment, tmp_path):
    environment.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "nowhere.pem"))

    with pytest.raises(KiwoomUnavailable, match=r"nowhere\.pem"):
        send(url(tls_server, "https"))


def test_a_refused_connection_is_named():
    with pytest.raises(KiwoomUnavailable, match=r"127\.0\.0\.1: Connection refused"):
        send(f"http://127.0.0.1:{free_port()}/x")


def test_a_name_that_nothing_has_is_named():
    with pytest.raises(KiwoomUnavailable, match=r"no answer from host\.invalid: DNS: "):
        send("http://host.invalid/x")


def test_a_proxy_that_opens_no_tunnel_is_named(server, environment):
    environment.setenv("HTTPS_PROXY", url(server))

    with pytest.raises(KiwoomUnavailable, match="through the proxy: Tunnel connection"):
        send("https://api.example.test/x")


@pytest.mark.parametrize("length", ["Content-Length: 9999", "Connection: close"])
def test_an_answer_that_only_drips_in_is_broken_off(monkeypatch, length):
    monkeypatch.setattr(wire, "ANSWER_SECONDS", 0.5)
    over = Event()

    def drip(listener):
        client, _ = listener.accept()
        with client:
            client.recv(65_536)
            client.sendall(f"HTTP/1.1 200 OK\r\n{length}\r\n\r\n".encode())
            with suppress(OSError):
                while not over.wait(0.05):
                    client.sendall(b" ")

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=drip, args=(listener,))
        thread.start()
        began = time.monotonic()
        try:
            with pytest.raises(KiwoomUnavailable):
                answer = post(new_http_session(), url_of(listener), BEARER, {})
                # Without a length, what has come looks like all of it.
                decode("ka10081", answer)
        finally:
            over.set()
            thread.join()

    assert time.monotonic() - began < 5.0


def test_what_came_before_the_body_counts_as_well(monkeypatch):
    allowed = []

    class Late(Timer):
        def __init__(self, seconds, *args):
            allowed.append(seconds)
            super().__init__(seconds, *args)

    def answer_after_a_while(listener):
        client, _ = listener.accept()
        with client:
            client.recv(65_536)
            time.sleep(0.2)
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")

    monkeypatch.setattr(wire, "Timer", Late)
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = Thread(target=answer_after_a_while, args=(listener,))
        thread.start()
        assert post(new_http_session(), url_of(listener), BEARER, {}).ok
        thread.join()

    (seconds,) = allowed
    assert seconds <= wire.ANSWER_SECONDS - 0.2


def url_of(listener):
    return f"http://127.0.0.1:{listener.getsockname()[1]}/api"

"""A stand-in for Cloud SQL: its Admin API, and its TLS proxy in front of PostgreSQL."""

from __future__ import annotations

import json
import socket
import ssl
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Event, Thread

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from google.auth.credentials import Credentials, Scoped
from google.auth.exceptions import RefreshError

REGION = "asia-northeast3"
INSTANCE = f"demo-proj:{REGION}:pipeline"
# The connector knows no other port; a loopback address of our own keeps runs apart.
PORT = 3307


class FakeCredentials(Credentials, Scoped):
    """A service account's, as far as the connector looks."""

    def __init__(self):
        super().__init__()
        self.refreshed = 0
        self.has_metadata_server = True

    def refresh(self, request):
        if not self.has_metadata_server:
            raise RefreshError("Compute Engine Metadata server unavailable")
        self.refreshed += 1
        self.token = f"token-{self.refreshed}"
        self.expiry = datetime.now(UTC).replace(tzinfo=None) + timedelta(hours=1)

    @property
    def requires_scopes(self):
        return False

    def with_scopes(self, scopes, default_scopes=None):
        return FakeCredentials()


class CloudSql:
    """One instance; ``url`` is its Admin API."""

    def __init__(self, postgres_port, address, certificate_seconds=3600):
        self.postgres_port = postgres_port
        self.address = address
        self.certificate_seconds = certificate_seconds
        self.issued = []
        self.connections = []
        # A status and a message with which the Admin API refuses.
        self.refusal = None
        self.api_answers = Event()
        self.api_answers.set()
        self.door_answers = Event()
        self.door_answers.set()
        self.addresses = [{"type": "PRIVATE", "ipAddress": address}]
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._ca = self._certificate(self._key.public_key(), ca=True)

    def start(self, directory):
        handler = type("Handler", (_Handler,), {"sql": self})
        self._api = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._api.server_address[1]}"
        Thread(target=self._api.serve_forever, daemon=True).start()
        pem = directory / "server.pem"
        key = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
        pem.write_bytes(key + self.ca_pem())
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._tls.minimum_version = ssl.TLSVersion.TLSv1_3
        self._tls.load_cert_chain(pem)
        self._tls.verify_mode = ssl.CERT_REQUIRED
        self._tls.load_verify_locations(cadata=self.ca_pem().decode())
        self._listener = socket.create_server((self.address, PORT))
        Thread(target=self._accept, daemon=True).start()

    def stop(self):
        self.api_answers.set()
        self.door_answers.set()
        self._api.shutdown()
        self._api.server_close()
        self.close_the_door()
        self.drop_connections()

    def close_the_door(self):
        """Let nobody in any more."""
        with suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def drop_connections(self):
        """As a network does that is gone for a moment."""
        for connection in self.connections:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)
            connection.close()
        self.connections.clear()

    def ca_pem(self):
        return self._ca.public_bytes(serialization.Encoding.PEM)

    def settings(self):
        return {
            "region": REGION,
            "databaseVersion": "POSTGRES_17",
            "serverCaCert": {"cert": self.ca_pem().decode()},
            "ipAddresses": self.addresses,
        }

    def sign(self, request):
        key = serialization.load_pem_public_key(request["public_key"].encode())
        self.issued.append(request.get("access_token"))
        pem = self._certificate(key).public_bytes(serialization.Encoding.PEM)
        return {"ephemeralCert": {"cert": pem.decode()}}

    def _certificate(self, key, *, ca=False):
        now = datetime.now(UTC)
        name = x509.Name(
            [x509.NameAttribute(NameOID.COMMON_NAME, "demo-proj:pipeline")]
        )
        seconds = 86_400 if ca else self.certificate_seconds
        return (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(minutes=1))
            .not_valid_after(now + timedelta(seconds=seconds))
            .add_extension(
                x509.BasicConstraints(ca=ca, path_length=None), critical=True
            )
            .sign(self._key, hashes.SHA256())
        )

    def _accept(self):
        while True:
            try:
                raw, _ = self._listener.accept()
            except OSError:
                return
            Thread(target=self._serve, args=(raw,), daemon=True).start()

    def _serve(self, raw):
        raw.settimeout(None)
        raw.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.door_answers.wait()
        try:
            client = self._tls.wrap_socket(raw, server_side=True)
            server = socket.create_connection(("127.0.0.1", self.postgres_port))
        except OSError:
            raw.close()
            return
        server.settimeout(None)
        server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += [client, server]
        Thread(target=_pump, args=(client, server), daemon=True).start()
        _pump(server, client)


def _pump(source, target):
    with suppress(OSError, ValueError):
        while data := source.recv(65_536):
            target.sendall(data)
    for one in (source, target):
        with suppress(OSError):
            one.shutdown(socket.SHUT_RDWR)


class _Handler(BaseHTTPRequestHandler):
    """The two calls of the Admin API that a connector makes."""

    sql: CloudSql

    def do_GET(self):
        self._answer(self.sql.settings())

    def do_POST(self):
        length = int(self.headers["Content-Length"])
        request = json.loads(self.rfile.read(length))
        self._answer({} if self.sql.refusal else self.sql.sign(request))

    def _answer(self, body):
        status = 200
        self.sql.api_answers.wait()
        if self.sql.refusal:
            status, message = self.sql.refusal
            body = {"error": {"code": status, "message": message}}
        with suppress(OSError):
            self._send(status, json.dumps(body).encode())

    def _send(self, status, data):
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        """Say nothing."""

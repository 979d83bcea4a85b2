"""Stand-ins in memory, for what the client and the token refresher talk to."""

from __future__ import annotations

import json
from collections import deque
from dataclasses import replace
from datetime import timedelta
from io import BytesIO

import requests
from requests.adapters import BaseAdapter

from shared.tokens import AccessToken
from tests.support.builders import kst

TOKEN = AccessToken(
    value="top-secret-token",
    expires_at=kst("2026-11-21 08:00"),
    app_key_id="fingerprint",
    version="1",
)


class FakeWire(BaseAdapter):
    """Answers HTTP from a queue and remembers what was asked."""

    def __init__(self, *answers):
        super().__init__()
        self.answers = deque(answers)
        self.requests = []

    def send(self, request, **kwargs):
        self.requests.append(request)
        self.timeout = kwargs["timeout"]
        answer = self.answers.popleft()
        if isinstance(answer, Exception):
            raise answer
        body, status, headers = answer
        response = requests.Response()
        response.status_code = status
        response.headers.update(headers)
        response.raw = BytesIO(
            body if isinstance(body, bytes) else json.dumps(body).encode()
        )
        response.request = request
        response.url = request.url
        return response

    def close(self):
        """Nothing is open."""


def reply(body, status=200, **headers):
    """An answer of the broker; header names have underscores here."""
    return (
        body,
        status,
        {name.replace("_", "-"): text for name, text in headers.items()},
    )


def rows_reply(name, rows, next_key=""):
    body = {"return_code": 0, "return_msg": "정상적으로 처리되었습니다", name: rows}
    return reply(body, cont_yn="Y" if next_key else "N", next_key=next_key)


def refusal(code, text="…", return_code=3, status=200):
    body = {"return_code": return_code, "return_msg": f"오류입니다[{code}:{text}]"}
    return reply(body, status)


class FakeTokens:
    """A token, and perhaps a newer one."""

    def __init__(self, newer=None):
        self.newer = newer

    def current(self):
        return TOKEN

    def replacement(self, rejected):
        return self.newer


class FakeThrottle:
    """Never waits; remembers who asked."""

    def __init__(self):
        self.waits = []
        self.slowed = []

    def wait(self, app_key_id, api_id):
        self.waits.append((app_key_id, api_id))

    def slow_down(self, app_key_id, api_id):
        self.slowed.append((app_key_id, api_id))


class FakeVault:
    """Keeps tokens as versions; ``now`` is when they are put.

    The ``token`` that it begins with was put long ago.
    """

    def __init__(self, token=None, now=None):
        self.versions = {token.version: token} if token else {}
        self.put_at = dict.fromkeys(self.versions, kst("2026-01-01"))
        self.now = now
        self.puts = 0

    @property
    def token(self):
        return self.stored()

    def stored(self):
        newest = next(reversed(self.versions), None)
        return self.versions.get(newest)

    def put(self, token):
        self.puts += 1
        version = f"versions/{len(self.versions) + 1}"
        self.versions[version] = replace(token, version=version)
        self.put_at[version] = self.now or kst("2026-11-20 12:10")
        return self.versions[version]

    def destroy(self):
        """Destroy the newest version, as one does with a leaked token."""
        self.versions[next(reversed(self.versions))] = None

    def destroy_older(self, token):
        older = list(self.versions)[: list(self.versions).index(token.version)]
        self.versions |= dict.fromkeys(older)

    def put_since(self, instant):
        newest_first = reversed(self.put_at.items())
        return {version: at for version, at in newest_first if at >= instant}


class FakeIssuer:
    """Issues tokens that live a day."""

    def __init__(self, now):
        self.now = now
        self.issued_for = []

    def issue(self, app_key, secret_key):
        self.issued_for.append((app_key, secret_key))
        return replace(TOKEN, expires_at=self.now + timedelta(hours=24))

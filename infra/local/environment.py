"""What child processes may know of our own environment: no secret is in it."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

# gRPC reads them in lower case only. The Makefile keeps our own servers out of them.
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
PASSED_ON = (
    *("PATH", "HOME", "LANG", "LC_ALL", "TMPDIR", "JAVA_HOME", "SYSTEMROOT"),
    *PROXIES,
    *(name.lower() for name in PROXIES),
    # The certificate authorities of a company's proxy.
    *("SSL_CERT_FILE", "SSL_CERT_DIR", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"),
)


def for_children(environ: Mapping[str, str], root: Path) -> dict[str, str]:
    """The variables of a child that imports from ``root``."""
    passed_on = {name: environ[name] for name in PASSED_ON if name in environ}
    return {
        **passed_on,
        "PYTHONPATH": str(root),
        "PYTHONUNBUFFERED": "1",
        # The same encoding everywhere, whatever the locale.
        "PYTHONUTF8": "1",
        # No metadata server is asked for credentials that are not needed here.
        "NO_GCE_CHECK": "true",
        # gunicorn forks its worker, which macOS ends if a framework is loaded.
        "OBJC_DISABLE_INITIALIZE_FORK_SAFETY": "YES",
    }

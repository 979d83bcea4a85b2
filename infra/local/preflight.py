"""What can be told before anything is started: the broker, the data, the moment."""

from __future__ import annotations

import socket
import ssl
import urllib.error
import urllib.request
from datetime import timedelta
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from functions.reference_sync.reference_data import bundled_calendar
from infra.local import advice, moments
from shared.errors import ConfigError
from shared.sessions import kst_date

if TYPE_CHECKING:
    from datetime import datetime
    from pathlib import Path

    from infra.local.options import Options

CONNECT_SECONDS = 5.0
WEEK = timedelta(days=7)
# The broker's firewall blocks the default names of some libraries.
USER_AGENT = "tradesmart-pipeline/1.0"


def check(options: Options, directory: Path, now: datetime) -> str:
    """Refuse what cannot work; ``now`` is the market's moment.

    Returns:
        What is worth knowing although it works, or nothing.

    Raises:
        ConfigError: With the cause and the remedy.
    """
    full = advice.disk_trouble(directory)
    if full:
        raise ConfigError(full)
    if options.base_url:
        reach(options.base_url)
    elif options.data:
        first, last = moments.recorded_range(options.data)
        source = f"the recorded data in {options.data}"
        if options.moment is None and kst_date(now) > last:
            return f"{source} end on {last}: live in them with NOW={last}T10:30"
        moments.check_covered(now, first, last, source)
    else:
        # Imported here: numpy, only where the market is simulated.
        from infra.local.broker.days import FIRST_DAY, LAST_DAY  # noqa: PLC0415

        # Nothing is collected in a week that the trading calendar does not know.
        last = min(LAST_DAY, bundled_calendar().last - WEEK)
        moments.check_covered(now, FIRST_DAY, last, "the simulated market")
    return ""


def reach(base_url: str) -> None:
    """Ask the broker's host for anything at all; every answer will do.

    Proxies of the environment are used, as the functions use them.

    Raises:
        ConfigError: If there is no answer; the text names host and cause.
    """
    request = urllib.request.Request(  # noqa: S310 - http or https, as configured
        base_url, headers={"User-Agent": USER_AGENT}
    )
    try:
        with urllib.request.urlopen(request, timeout=CONNECT_SECONDS):  # noqa: S310
            return
    except urllib.error.HTTPError:
        return
    except urllib.error.URLError as error:
        host = urlsplit(base_url).netloc or base_url
        message = (
            f"the broker cannot be reached at {host}: {_cause(error)}; check the "
            "network, and KIWOOM_BASE_URL or KIWOOM_MODE"
        )
        raise ConfigError(message) from None
    except OSError:
        return  # connected, and then hung up on: it does not like the question
    except ValueError:
        message = f"KIWOOM_BASE_URL must be like http://host:port, not {base_url!r}"
        raise ConfigError(message) from None


def _cause(error: urllib.error.URLError) -> str:
    reason = error.reason
    if isinstance(reason, TimeoutError | socket.timeout):
        return f"no answer in {CONNECT_SECONDS:.0f} s"
    if isinstance(reason, socket.gaierror):
        return "the name is not known"
    if isinstance(reason, ssl.SSLCertVerificationError):
        return f"its certificate is not trusted ({reason.verify_message})"
    if isinstance(reason, OSError) and reason.strerror:
        return reason.strerror.lower()
    return str(reason) or type(reason).__name__

"""``make dev``: the whole pipeline on this machine, and its first collection.

What is heavy is imported after the first line is on the screen.
"""

from __future__ import annotations

import errno
import os
import pwd
import signal
import sys
import traceback
from pathlib import Path

from infra.local.announcement import DIRECTORY, ROOT, AlreadyRunning, alone
from infra.local.screen.terminal import Terminal

TITLE = "TradeSmartAI data pipeline, all of it on this machine"
ENV_FILE = ROOT / ".env"
BUGS = "dev.log"
MOST_CHARACTERS = 200


class Interrupted(BaseException):
    """The user wants to stop; no handler of errors may take it for one."""


class Failed(Exception):
    """It cannot go on; the text is one sentence with the remedy."""


def main() -> int:
    """Run the stack; return the exit status."""
    terminal = Terminal()
    terminal.line(TITLE, style="bold")
    _stop_on_signals(terminal)
    try:
        with alone():
            return _run(terminal)
    except Interrupted:
        terminal.line("stopped; all data are kept")
        return 130 if os.environ.get("ONCE", "0") not in {"", "0"} else 0
    except (AlreadyRunning, Failed) as error:
        return _fail(terminal, str(error))
    except OSError as error:
        return _fail(terminal, os_error(error))
    except Exception as error:  # noqa: BLE001 - a user is not shown a traceback
        return _fail(terminal, _bug(error))


def _run(terminal: Terminal) -> int:
    from infra.local.options import Options  # noqa: PLC0415 - see above
    from infra.local.screen.source import source  # noqa: PLC0415
    from shared.clock import new_clock  # noqa: PLC0415
    from shared.errors import PipelineError  # noqa: PLC0415

    try:
        options = Options.from_env(os.environ, new_clock()(), ENV_FILE)
        terminal.line(source(options))
        terminal.start()
        terminal.step("checks")
        from infra.local import preflight  # noqa: PLC0415

        notice = preflight.check(options, DIRECTORY, new_clock(options.clock_offset)())
        if notice:
            terminal.line(f"! {notice}", style="yellow")
        terminal.step("loading")
        from infra.local import live  # noqa: PLC0415
        from infra.local.processes import StartFailed  # noqa: PLC0415
    except PipelineError as error:
        raise Failed(str(error)) from error
    try:
        return live.run(terminal, options, ENV_FILE)
    except PipelineError as error:
        raise Failed(str(error)) from error
    except StartFailed as error:
        raise Failed(brief(str(error))) from error


def brief(text: str) -> str:
    """What ended, and the last line of its log, instead of fifteen."""
    first, *log = [line for line in text.splitlines() if line.strip()]
    if not log:
        return first
    what, _, where = first.partition("; the end of ")
    return f"{what}: {log[-1].strip()}" + (
        f" (see {where.rstrip(':')})" if where else ""
    )


def os_error(error: OSError) -> str:
    """Say what a file system refused, and what to do about it."""
    path = Path(error.filename) if error.filename else DIRECTORY
    if error.errno == errno.ENOSPC:
        return f"the disk is full at {path}: make room, then start again"
    if isinstance(error, PermissionError):
        owned = DIRECTORY if DIRECTORY.exists() else path.parent
        owner = _owner(owned)
        return (
            f"{path} cannot be written: {owned} belongs to {owner}; give it to "
            f"yourself with: sudo chown -R {_owner_name(os.geteuid())} {owned}"
        )
    return f"{error.strerror or error}: {path}"


def _owner(path: Path) -> str:
    try:
        return _owner_name(path.stat().st_uid)
    except OSError:
        return "another user"


def _owner_name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


def _bug(error: Exception) -> str:
    """Keep the traceback in a file; say where."""
    log = DIRECTORY / "logs" / BUGS
    text = f"{type(error).__name__}: {' '.join(str(error).split())[:MOST_CHARACTERS]}"
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        log.write_text("".join(traceback.format_exception(error)), encoding="utf-8")
    except OSError as unwritten:
        return f"{text} ({os_error(unwritten)})"
    return f"{text}; this is a bug, its traceback is in {log}"


def _fail(terminal: Terminal, text: str) -> int:
    terminal.close()
    terminal.line(f"✗ {text}", style="bold red")
    return 1


def _stop_on_signals(terminal: Terminal) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def interrupt(*_: object) -> None:
        # A second signal must not interrupt the stopping.
        for number in numbers:
            signal.signal(number, signal.SIG_IGN)
        terminal.close()
        terminal.line("stopping …")
        raise Interrupted

    for number in numbers:
        signal.signal(number, interrupt)


if __name__ == "__main__":
    sys.exit(main())

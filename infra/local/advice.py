"""What to do on this machine about what went wrong: files and lines, not the cloud."""

from __future__ import annotations

import re
import shutil
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

REFUSED = re.compile(r"refused with (\w+): ([^;]*)")
KEYS = ("KIWOOM_APP_KEY", "KIWOOM_SECRET_KEY")
KEY_CODES = {"8001", "8002"}
HOST_CODES = {"8030", "8031"}
ADDRESS_CODES = {"8010", "8040", "8050"}
# PostgreSQL needs room for a segment of its log (16 MiB) at any moment.
LEAST_BYTES = 64 * 1024 * 1024
MIB = 1024 * 1024


def refusal(reason: str, env_file: Path) -> str:
    """Say why the broker refused a token, and which line of ``.env`` to correct.

    A ``reason`` that is no refusal is returned as it is.
    """
    match = REFUSED.search(reason)
    if match is None:
        return reason
    code, said = match[1], match[2].strip()
    refused = f"the broker refused with {code} ({said})"
    if code in KEY_CODES:
        return f"{refused}: correct {_places(env_file, KEYS)}"
    if code in HOST_CODES:
        place = _places(env_file, ("KIWOOM_MODE",))
        return f"{refused}: real and mock have keys of their own; correct {place}"
    if code in ADDRESS_CODES:
        return (
            f"{refused}: register the address of this machine in the broker's portal "
            "(openapi.kiwoom.com)"
        )
    return refused


def _places(env_file: Path, names: tuple[str, ...]) -> str:
    """Where variables are set, such as ``KIWOOM_MODE (line 3) in .env``."""
    try:
        lines = env_file.read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    found = []
    for name in names:
        numbers = [
            number
            for number, line in enumerate(lines, start=1)
            if re.match(rf"\s*(export\s+)?{name}\s*=\s*\S", line)
        ]
        where = f" (line {numbers[-1]})" if numbers else ""
        found.append(f"{name}{where}")
    is_in_file = any("(line" in each for each in found)
    place = f"in {env_file.name}" if is_in_file else "in the environment"
    return f"{' and '.join(found)} {place}"


def disk_trouble(directory: Path) -> str:
    """Say that the disk is full, and where; nothing while there is room."""
    free = shutil.disk_usage(directory).free
    if free >= LEAST_BYTES:
        return ""
    return (
        f"the disk is full: {free // MIB} MiB are free at {directory}, "
        f"{LEAST_BYTES // MIB} MiB are needed; make room"
    )

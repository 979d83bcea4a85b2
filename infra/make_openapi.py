"""``python -m infra.make_openapi``: the contract of the API, as the function serves it.

It is written in YAML, for people; functions have nothing that reads YAML.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import yaml

FOLDER = Path(__file__).parents[1] / "functions" / "status_page"
CONTRACT = FOLDER / "openapi.yaml"
SERVED = FOLDER / "openapi.json"


def served() -> str:
    """The contract as JSON."""
    contract = yaml.safe_load(CONTRACT.read_text(encoding="utf-8"))
    return json.dumps(contract, ensure_ascii=False, separators=(",", ":")) + "\n"


def main() -> int:
    """Write the JSON beside the YAML."""
    SERVED.write_text(served(), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

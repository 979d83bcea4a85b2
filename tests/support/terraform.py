"""The real terraform without the cloud.

``TFCHECK`` names a command that plans with a stand-in for Google's provider; without it,
or without terraform, the tests that need it say that they were skipped.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess

import pytest

from tests.support.servers import ROOT

TERRAFORM = ROOT / "infra" / "terraform"
KNOWN = ROOT.parent / "shared" / "tools" / "terraform-google-schema" / "tfcheck"
TFCHECK = os.environ.get("TFCHECK") or (str(KNOWN) if KNOWN.exists() else None)
VARIABLES = {"project_id": "demo-proj", "alert_email": "duty@example.com"}
# A mark: what is skipped while it is imported cannot be imported by another test.
needs_terraform = pytest.mark.skipif(
    not (TFCHECK and shutil.which("terraform")),
    reason="needs terraform, and TFCHECK (an offline stand-in for Google's provider)",
)


def tfcheck(directory, *arguments, **variables):
    values = VARIABLES | variables
    given = [f"--var={name}={value}" for name, value in values.items()]
    return subprocess.run(
        [TFCHECK, str(directory), *arguments, *given], capture_output=True, text=True
    )


def variables_of(environment):
    lines = (TERRAFORM / "environments" / f"{environment}.tfvars").read_text()
    found = re.findall(r'^(\w+)\s*=\s*"?([^"\n]*)"?$', lines, re.MULTILINE)
    return dict(found)

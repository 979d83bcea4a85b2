"""The flags of ``gcloud``, kept in a table, so that a misspelt one is found without it.

``python -m tests.support.gcloud`` writes the table for the commands of the documents,
as the ``gcloud`` that is installed describes them itself.
"""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.support import pages

TABLE = pages.ROOT / "tests" / "data" / "gcloud.json"
IN_LINE = re.compile(r"(?:^|[|&;] *)(gcloud (?:'[^']*'|\"[^\"]*\"|[^|&;])+)")
# What the reader fills in, or his shell, or Terraform.
PLACEHOLDER = re.compile(r"<[^<>=]+>|…|\$\w+|\$\{[^}]+\}")


def table():
    return json.loads(TABLE.read_text(encoding="utf-8"))


def in_code():
    """What the migration job and its image are made and run with."""
    script = (pages.ROOT / "infra" / "run_job.sh").read_text(encoding="utf-8")
    stack = (pages.ROOT / "infra" / "terraform" / "job.tf").read_text(encoding="utf-8")
    (built,) = re.findall(r'command = join\(" ", \[\n(.*?)\]\)', stack, re.DOTALL)
    lines = script.replace("\\\n", " ").splitlines()
    lines.append(" ".join(re.findall(r'"(.+)",', built)))
    return {command for line in lines for command in commands_in(line)}


def in_documents():
    """Every command of ``gcloud`` that a document has."""
    texts = (path.read_text(encoding="utf-8") for path in pages.DOCUMENTS)
    lines = {command.text for text in texts for command in pages.commands_of(text)}
    return {command for line in lines for command in commands_in(line)}


def commands_in(line):
    return {found.strip() for found in IN_LINE.findall(line)}


def words_of(command):
    return shlex.split(PLACEHOLDER.sub("something", command))[1:]


def problems(command, known):
    """What is wrong with a command: a name, a flag or a positional that is unknown."""
    words = words_of(command)
    names = [word for word in words if not word.startswith("-")]
    paths = (" ".join(names[:end]) for end in range(len(names), 0, -1))
    path = next((path for path in paths if path in known["commands"]), None)
    if path is None:
        return [f"no such command: {' '.join(names)}"]
    flags = {word.partition("=")[0] for word in words if word.startswith("--")}
    entry = known["commands"][path]
    unknown = flags.difference(entry["flags"], known["everywhere"])
    found = [f"{path} has no flag {flag}" for flag in sorted(unknown)]
    if len(names) > len(path.split()) and not entry["takes_positionals"]:
        found.append(f"{path} takes nothing: {names[-1]}")
    return found


def described(commands):
    """What the installed ``gcloud`` says about commands, without running any of them."""
    asked = [
        {"command_string": f"gcloud {shlex.join(words_of(each))}"} for each in commands
    ]
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "commands.json"
        file.write_text(json.dumps(asked), encoding="utf-8")
        done = subprocess.run(
            ["gcloud", "meta", "lint-gcloud-commands", f"--commands-file={file}"],
            capture_output=True,
            text=True,
            check=True,
        )
    return json.loads(done.stdout)


def flags_of(structure):
    """All flags in a description, and whether there are positionals."""
    flags, takes_positionals = set(), False
    for argument in structure.get("arguments", []):
        if "group" in argument:
            inner, positional = flags_of(argument["group"])
            flags |= inner
            takes_positionals |= positional
        elif argument.get("positional"):
            takes_positionals = True
        else:
            flags.add(f"--{argument['name']}")
    return flags, takes_positionals


def entry_of(told):
    """The name of a command, and what the table has of it."""
    flags, takes_positionals = flags_of(told["args_structure"])
    name = told["command_string_no_args"].removeprefix("gcloud ")
    return name, {"takes_positionals": takes_positionals, "flags": sorted(flags)}


def table_of(told):
    """The table, with the flags once that every command has."""
    entries = dict(sorted(entry_of(each) for each in told if each["success"]))
    everywhere = set.intersection(*(set(each["flags"]) for each in entries.values()))
    for entry in entries.values():
        entry["flags"] = [flag for flag in entry["flags"] if flag not in everywhere]
    return {"everywhere": sorted(everywhere), "commands": entries}


def main():
    version = subprocess.run(
        ["gcloud", "--version"], capture_output=True, text=True, check=True
    ).stdout.split()[3]
    told = described(sorted(in_documents() | in_code()))
    for each in told:
        if not each["success"]:
            print(f"{each['command_string']}: {each['error_message']}")
    written = json.dumps({"version": version} | table_of(told), indent=1)
    TABLE.write_text(written + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())

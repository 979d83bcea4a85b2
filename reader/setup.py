"""Builds the wheel: the modules of the core that are needed go into it.

In the repository the package imports them from ``shared``. A package of that name does
not belong into anyone else's environment, so they are copied to ``tradesmart/_core``,
and the imports of all modules say so. Only the standard library is used in them.
"""

from __future__ import annotations

import re
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py
from setuptools.command.sdist import sdist

HERE = Path(__file__).parent
# In an sdist the core lies inside, in the repository beside us.
CORE = next(path for path in (HERE / "shared", HERE.parent / "shared") if path.exists())
# What setuptools writes on the way stays out of the sources.
BUILD = CORE.parent / "build" / "reader"
IMPORT = re.compile(r"^(\s*from )shared(\.[\w.]+)? import", re.MULTILINE)


def core(*modules: Path) -> set[Path]:
    """The modules of the core that these modules import, and that those do."""
    found: set[Path] = set()
    waiting = list(modules)
    while waiting:
        text = waiting.pop().read_text(encoding="utf-8")
        for match in IMPORT.finditer(text):
            parts = (match[2] or "").split(".")[1:]
            packages = [CORE.joinpath(*parts[:end]) for end in range(len(parts) + 1)]
            named = {path / "__init__.py" for path in packages if path.is_dir()}
            named |= {path.with_suffix(".py") for path in packages if not path.is_dir()}
            waiting += named - found
            found |= named
    return found


class BuildWithCore(build_py):
    """Copies what is needed of the core, and says in the imports where it is."""

    def run(self) -> None:
        """Build from nothing, so that no former module is left."""
        shutil.rmtree(self.build_lib, ignore_errors=True)
        super().run()
        package = Path(self.build_lib) / "tradesmart"
        for module in core(*package.rglob("*.py")):
            to = package / "_core" / module.relative_to(CORE)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, to)
        for module in package.rglob("*.py"):
            text = module.read_text(encoding="utf-8")
            text = IMPORT.sub(r"\1tradesmart._core\2 import", text)
            module.write_text(text, encoding="utf-8")


class SdistWithCore(sdist):
    """Takes the core along."""

    def make_release_tree(self, base_dir: str, files: list[str]) -> None:
        """Lay it beside the package."""
        super().make_release_tree(base_dir, files)
        for module in core(*(HERE / "tradesmart").rglob("*.py")):
            to = Path(base_dir) / "shared" / module.relative_to(CORE)
            to.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(module, to)


BUILD.mkdir(parents=True, exist_ok=True)
setup(
    cmdclass={"build_py": BuildWithCore, "sdist": SdistWithCore},
    options={
        "build": {"build_base": str(BUILD)},
        "egg_info": {"egg_base": str(BUILD)},
    },
)

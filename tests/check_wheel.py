"""Build the wheel and see that it installs one top-level name, with all of the rooms inside it and nothing else.

It is built from a copy of the project in which leftovers lie that a day's work leaves behind.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"devices", "plans", "analysis", "simulators", "profiles"}
LEFTOVERS = (
    "analysis/__pycache__/optics.cpython-311.pyc",
    "analysis/__pycache__/_kernels.nbi",
    "profiles/bl18b/history.sqlite",
    "profiles/bl18b/db/notes",
    "profiles/bl18b/log/notes",
    "profiles/bl18b/startup/README",
)
"""Written by Python, numba and IPython."""
KINDS = {".py", ".toml", ".typed"}
"""Suffixes of what belongs to the package."""


def copy_project(folder: Path) -> None:
    """Copy what the wheel is made of, and put leftovers among it."""
    for name in ("pyproject.toml", "README.md", "LICENSE", ".gitignore"):
        shutil.copy2(ROOT / name, folder)
    for name in ("src", *ROOMS):
        shutil.copytree(ROOT / name, folder / name, symlinks=True)
    for name in LEFTOVERS:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def build() -> list[str]:
    """Return the names in a wheel that is built now."""
    with tempfile.TemporaryDirectory() as name:
        project, wheels = Path(name, "project"), Path(name, "wheels")
        project.mkdir()
        copy_project(project)
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(wheels)],
            cwd=project,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = wheels.glob("*.whl")
        with zipfile.ZipFile(wheel) as archive:
            return archive.namelist()


def main() -> int:
    """Build, look inside, and say what is wrong."""
    names = [name for name in build() if not name.split("/")[0].endswith(".dist-info")]
    top = {name.split("/")[0] for name in names}
    if top != {"exitwave"}:
        print(f"the wheel installs {sorted(top)}, not exitwave alone")
        return 1
    rooms = {name.split("/")[1] for name in names if name.count("/") > 1}
    wanted = {f"exitwave/{path.relative_to(ROOT)}" for room in ROOMS for path in (ROOT / room).rglob("*.py")}
    wanted |= {"exitwave/__init__.py", "exitwave/cli.py", "exitwave/py.typed", "exitwave/profiles/bl18b/beamline.toml"}
    if rooms != ROOMS or not wanted <= set(names):
        print(f"the wheel misses {sorted(ROOMS - rooms) or sorted(wanted - set(names))}")
        return 1
    foreign = [name for name in names if Path(name).suffix not in KINDS or "__pycache__" in name]
    if foreign:
        print(f"the wheel holds what does not belong to the package: {foreign}")
        return 1
    print(f"wheel: {len(names)} files under exitwave")
    return 0


if __name__ == "__main__":
    sys.exit(main())

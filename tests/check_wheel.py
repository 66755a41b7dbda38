"""Build the wheel and see that it installs one top-level name, with all of the rooms inside it."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
ROOMS = {"devices", "plans", "analysis", "simulators", "profiles"}


def main() -> int:
    """Build, look inside, and say what is wrong."""
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(
            [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", folder],
            cwd=ROOT,
            check=True,
            stdout=subprocess.DEVNULL,
        )
        (wheel,) = Path(folder).glob("*.whl")
        names = zipfile.ZipFile(wheel).namelist()
    top = {name.split("/")[0] for name in names if not name.split("/")[0].endswith(".dist-info")}
    if top != {"exitwave"}:
        print(f"the wheel installs {sorted(top)}, not exitwave alone")
        return 1
    rooms = {name.split("/")[1] for name in names if name.startswith("exitwave/") and name.count("/") > 1}
    if not rooms >= ROOMS or "exitwave/profiles/bl18b/beamline.toml" not in names:
        print(f"the wheel misses {sorted(ROOMS - rooms) or 'the profile'}")
        return 1
    print(f"wheel: {len(names)} files under exitwave")
    return 0


if __name__ == "__main__":
    sys.exit(main())

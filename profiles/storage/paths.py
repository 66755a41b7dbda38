"""Where data lies, and whether there is room for more of it."""

from __future__ import annotations

import os
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

from exitwave.profiles.storage.errors import DiskSpaceError, FolderError

__all__ = ["DataFolder", "check_free", "check_writable", "data_folder"]

_MIB = 1 << 20


def check_writable(folder: Path) -> None:
    """Create `folder` if need be and prove that a file can be written in it.

    Raises
    ------
    FolderError
        If the folder cannot be made, or no file can be created in it.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise FolderError(
            f"{folder}: not writable ({error.strerror or error}); "
            "set EXITWAVE_DATA to a folder that this user can write"
        ) from error


def check_free(folder: Path, needed_mib: float) -> float:
    """Free space of the file system that holds `folder`, in MiB.

    Parameters
    ----------
    folder : Path
        An existing folder.
    needed_mib : float
        The least that must be free, in MiB.

    Raises
    ------
    DiskSpaceError
        If less than `needed_mib` is free.
    """
    free_mib = shutil.disk_usage(folder).free / _MIB
    if free_mib < needed_mib:
        raise DiskSpaceError(
            f"{folder}: {needed_mib:.0f} MiB needed, {free_mib:.0f} MiB free; "
            "remove files there or set EXITWAVE_DATA to a larger disk"
        )
    return free_mib


@dataclass(frozen=True)
class DataFolder:
    """The folder of one user's data, and what lies where in it."""

    root: Path

    @property
    def journal(self) -> Path:
        """Every document of every run, one JSON Lines file per run."""
        return self.root / "journal"

    @property
    def frames(self) -> Path:
        """What the file plugins of the cameras write, HDF5."""
        return self.root / "frames"

    @property
    def tiled(self) -> Path:
        """The embedded Tiled server: catalog, tables, key and logs."""
        return self.root / "tiled"

    @property
    def services(self) -> Path:
        """State, status and logs of the background processes."""
        return self.root / "services"

    @property
    def queue(self) -> Path:
        """The queue server's Redis, configuration and logs."""
        return self.root / "queue"

    def prepare(self, *, needed_mib: float = 256.0) -> DataFolder:
        """Create the folders and check that they can be written and have room.

        Raises
        ------
        FolderError, DiskSpaceError
            Before anything is measured, so that nothing is lost.
        """
        for folder in (self.journal, self.frames, self.tiled, self.services):
            check_writable(folder)
            check_free(folder, needed_mib)
        return self


def data_folder(root: str | Path | None = None) -> DataFolder:
    """Name the data folder: `root`, `EXITWAVE_DATA`, or `exitwave` under the user's XDG data folder.

    Nothing is created; see `DataFolder.prepare`.
    """
    if root is None:
        root = os.environ.get("EXITWAVE_DATA") or None
    if root is None:
        base = os.environ.get("XDG_DATA_HOME") or Path.home() / ".local" / "share"
        root = Path(base) / "exitwave"
    return DataFolder(Path(root).expanduser().absolute())

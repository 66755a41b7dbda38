"""Tomograms as files for other programs: NXtomo and Data Exchange, on demand or when a run ends."""

from __future__ import annotations

import logging
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exitwave.analysis.errors import AnalysisError
from exitwave.analysis.io import write_data_exchange, write_nxtomo
from exitwave.profiles.storage.errors import StorageError
from exitwave.profiles.storage.paths import DataFolder
from exitwave.profiles.storage.tomogram import open_tomogram

__all__ = ["ExportFormatError", "TomogramExporter", "export_tomogram"]

log = logging.getLogger(__name__)
_WRITERS = {".nxs": write_nxtomo, ".h5": write_data_exchange, ".hdf": write_data_exchange}


class ExportFormatError(StorageError):
    """A file that is there already, or whose ending says no format."""


def export_tomogram(key: str | int, path: str | Path, *, data: DataFolder | None = None) -> Path:
    """Write a tomogram with its flats and darks to one file: ``.nxs`` NXtomo, ``.h5`` or ``.hdf`` Data Exchange.

    Raises
    ------
    ExportFormatError
        The file exists, or its ending is none of these.
    NoTomogramError, RunNotFoundError, FramesMissingError
    """
    path = Path(path)
    writer = _WRITERS.get(path.suffix)
    if writer is None:
        raise ExportFormatError(f"{path}: ends in no known format; use .nxs for NXtomo, .h5 for Data Exchange")
    if path.exists():
        raise ExportFormatError(f"{path}: exists; choose another name or move it away")
    with open_tomogram(key, data=data) as tomogram:
        writer(path, tomogram.to_series())
    return path


class TomogramExporter:
    """Callable for ``RE.subscribe``: writes the tomogram of a run that asked for it (``output``) once it ended well.

    A tomogram with gaps is not written: the run that fills them (``ct.resume``) writes the whole. Writing goes on in a
    thread of its own while the next run begins; `close` waits for it. A failure is logged: the frames are in the
    camera's files all the same, and ``exitwave export`` writes them later.

    Parameters
    ----------
    data : DataFolder
    """

    def __init__(self, data: DataFolder) -> None:
        self._data = data
        self._wanted: dict[str, str] = {}
        self._threads: list[threading.Thread] = []

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take note of what is wanted, and write it at the end."""
        if name == "start" and doc.get("output") and "tomography" in doc:
            self._wanted[doc["uid"]] = str(doc["output"])
        elif name == "stop":
            path = self._wanted.pop(doc["run_start"], None)
            if path is not None and doc["exit_status"] == "success":
                thread = threading.Thread(target=self._write, args=(doc["run_start"], path), name="tomogram-export")
                self._threads = [t for t in self._threads if t.is_alive()] + [thread]
                thread.start()

    def _write(self, uid: str, path: str) -> None:
        try:
            with open_tomogram(uid, data=self._data) as tomogram:
                missing = len(tomogram.missing)
            if missing:
                log.warning(
                    "run %s: %d projections are missing, so nothing is exported to %s; ct.resume(%r) takes and exports "
                    "them",
                    uid[:8],
                    missing,
                    path,
                    uid[:8],
                )
                return
            export_tomogram(uid, path, data=self._data)
        except (StorageError, AnalysisError, OSError) as error:
            log.error("run %s: not exported to %s: %s", uid[:8], path, error)

    def close(self) -> None:
        """Wait for what is being written."""
        for thread in self._threads:
            thread.join()

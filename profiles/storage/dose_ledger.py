"""What every sample was exposed to, run by run: a file of JSON lines in the data folder."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from exitwave.profiles.storage.paths import DataFolder

__all__ = ["DoseLedger"]


class DoseLedger:
    """Callable for ``RE.subscribe``: enters the dose of each run that tells one, whether it ended well or not.

    One line a run: uid, time, plan, sample, material, dose (Gy; null where the material was not told), time in the
    beam (s), and the series of tomograms that it belongs to (else null). Scans of energies tell their dose in the
    stream ``dose``; tomograms of a series what a projection gives, in the start document's ``exposed``, and how many
    were triggered, in ``frame_audit``.

    Parameters
    ----------
    data : DataFolder
    """

    def __init__(self, data: DataFolder) -> None:
        self.path: Path = data.journal.parent / "dose.jsonl"
        self._start: Mapping[str, Any] = {}
        self._streams: dict[str, str] = {}

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Look for doses."""
        if name == "start":
            self._start, self._streams = doc, {}
        elif name == "descriptor" and doc["name"] in ("dose", "frame_audit"):
            self._streams[doc["uid"]] = doc["name"]
        elif name == "event" and doc["descriptor"] in self._streams:
            values = doc["data"]
            if self._streams[doc["descriptor"]] == "dose":
                dose, exposed_s = _ending(values, "dose_record_dose"), _ending(values, "dose_record_exposed")
                self._enter(doc, dose, exposed_s)
                return
            told = self._start.get("exposed") or {}
            if "per_frame_gy" in told:
                frames = _ending(values, "run_audit_triggered")
                self._enter(doc, frames * told["per_frame_gy"], frames * told["per_frame_s"])

    def _enter(self, doc: Mapping[str, Any], dose: float, exposed_s: float) -> None:
        line = {
            "uid": self._start.get("uid"),
            "time": doc["time"],
            "plan": self._start.get("plan_name"),
            "sample": _name(self._start.get("sample")),
            "material": (self._start.get("exposed") or {}).get("material"),
            "dose_gy": float(dose) if dose >= 0 else None,
            "exposed_s": float(exposed_s),
            "series": (self._start.get("xanes_series") or {}).get("uid"),
        }
        # One write, appended: two sessions on one folder do not mix their lines.
        handle = os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(handle, (json.dumps(line) + "\n").encode())
        finally:
            os.close(handle)

    def entries(self, sample: str | None = None) -> list[dict[str, Any]]:
        """Return the lines, of one sample or of all."""
        if not self.path.exists():
            return []
        lines = [json.loads(line) for line in self.path.read_text(encoding="utf-8").splitlines() if line]
        return [line for line in lines if sample is None or line["sample"] == sample]

    def series_gy(self, series: str) -> float:
        """Return the dose of all tomograms of a series so far, Gy."""
        return float(sum(line["dose_gy"] or 0.0 for line in self.entries() if line.get("series") == series))

    def total_gy(self, sample: str) -> float:
        """Return the dose of a sample so far, Gy; runs whose dose is not known count as none."""
        return float(sum(line["dose_gy"] or 0.0 for line in self.entries(sample)))


def _ending(values: Mapping[str, Any], end: str) -> float:
    return float(next((value for key, value in values.items() if key.endswith(end)), math.nan))


def _name(sample: Any) -> str | None:
    if isinstance(sample, Mapping):
        return str(sample.get("name", "")) or None
    return None if sample is None else str(sample)

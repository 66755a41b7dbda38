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
    """Callable for ``RE.subscribe``: enters the stream ``dose`` of each run, whether it ended well or not.

    One line a run: uid, time, plan, sample, material, dose (Gy; null where the material was not told) and time in the
    beam (s).

    Parameters
    ----------
    data : DataFolder
    """

    def __init__(self, data: DataFolder) -> None:
        self.path: Path = data.journal.parent / "dose.jsonl"
        self._start: Mapping[str, Any] = {}
        self._descriptors: set[str] = set()

    def __call__(self, name: str, doc: Mapping[str, Any]) -> None:
        """Look for doses."""
        if name == "start":
            self._start, self._descriptors = doc, set()
        elif name == "descriptor" and doc["name"] == "dose":
            self._descriptors.add(doc["uid"])
        elif name == "event" and doc["descriptor"] in self._descriptors:
            self._enter(doc)

    def _enter(self, doc: Mapping[str, Any]) -> None:
        dose = next((v for key, v in doc["data"].items() if key.endswith("dose_record_dose")), math.nan)
        exposed = next((v for key, v in doc["data"].items() if key.endswith("dose_record_exposed")), math.nan)
        line = {
            "uid": self._start.get("uid"),
            "time": doc["time"],
            "plan": self._start.get("plan_name"),
            "sample": _name(self._start.get("sample")),
            "material": (self._start.get("exposed") or {}).get("material"),
            "dose_gy": float(dose) if dose >= 0 else None,
            "exposed_s": float(exposed),
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

    def total_gy(self, sample: str) -> float:
        """Return the dose of a sample so far, Gy; runs whose dose is not known count as none."""
        return float(sum(line["dose_gy"] or 0.0 for line in self.entries(sample)))


def _name(sample: Any) -> str | None:
    if isinstance(sample, Mapping):
        return str(sample.get("name", "")) or None
    return None if sample is None else str(sample)

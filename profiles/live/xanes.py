"""Live scans of energies: the edge map and the sample's spectrum grow while energies arrive."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from exitwave.analysis import figures
from exitwave.analysis.live.xanes import LiveXanes

__all__ = ["XanesView"]

PLANS = ("xanes_imaging", "xanes_dual_energy", "xanes_resume", "xanes_tomography")


class XanesView:
    """Draws `LiveXanes`."""

    def __init__(self) -> None:
        self._router = LiveXanes()
        self._shown = (0, "")
        self._begin = 0.0
        self._first_map_s: float | None = None

    def accepts(self, start: Mapping[str, Any]) -> bool:
        """Whether the run has images at several energies; a tomogram at each is followed as tomograms are."""
        return str(start.get("plan_name", "")) in PLANS and "xanes" in start

    def needs(self, start: Mapping[str, Any]) -> str | None:
        """Return the run that this one goes on with, if it has not been heard."""
        return self._router.needs(start)

    def take(self, name: str, doc: Mapping[str, Any]) -> None:
        """Take a document."""
        if name == "start":
            self._shown, self._first_map_s, self._begin = (0, ""), None, float(doc["time"])
        self._router(name, doc)

    def show(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Draw what there is if energies came since the last time, or what is missing changed."""
        if self._state() == self._shown:
            return None
        return self._draw(folder, uid)

    def _state(self) -> tuple[int, str]:
        return self._router.energies, self._router.note or ""

    def idle(self, folder: Path, uid: str) -> dict[str, Any] | None:
        """Nothing takes longer than a picture."""
        return None

    def finish(self, folder: Path, uid: str) -> dict[str, Any]:
        """Draw the whole scan."""
        return self._draw(folder, uid) or self._figures()

    def _draw(self, folder: Path, uid: str) -> dict[str, Any] | None:
        found, note = self._router.map(), self._router.note
        self._shown = self._state()
        path = folder / f"{uid[:8]}-live.png"
        title = f"{uid[:8]}: {self._router.energies} of {self._router.expected} energies"
        if note is not None:
            title += f"; {note}"
        if found is None:
            light = self._router.light()
            if light is None:
                return None if note is None else self._figures()
            energy_ev, counts, pixel_nm = light
            figures.image_figure(counts, path, pixel_nm=pixel_nm, label=f"counts at {energy_ev:.1f} eV", title=title)
            return self._figures()
        if found.edge_ev is None or found.normalised is None or not np.isfinite(found.edge_ev).any():
            label = f"optical depth at {found.energies_ev[-1]:.1f} eV"
            figures.image_figure(found.depth, path, pixel_nm=found.pixel_nm, label=label, title=title)
            return self._figures()
        if self._first_map_s is None:
            self._first_map_s = time.time() - self._begin
        spectra = {"the sample": (found.energies_ev, found.normalised)}
        panel = figures.EdgePanel("half height", found.edge_ev, None, spectra)
        figures.xanes_figure([panel], path, pixel_nm=found.pixel_nm, title=title)
        return self._figures() | {"edge_median_ev": float(np.nanmedian(found.edge_ev))}

    def _figures(self) -> dict[str, Any]:
        first = self._first_map_s
        return {
            "energies": self._router.energies,
            "expected": self._router.expected,
            "waiting_for_flats": self._router.waiting,
            "note": self._router.note,
            "first_map_s": None if first is None else round(first, 2),
        }

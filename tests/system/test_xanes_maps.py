"""From the uid of a scan of energies to a map of edge energies, against the truth of a simulated particle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exitwave.analysis.xanes import edge_energy_ev, surface_depth_nm
from exitwave.plans.pure.positions import central_region
from exitwave.plans.stubs import set_region
from exitwave.profiles.demos import xanes_truth
from exitwave.profiles.demos.stage import run_plan
from exitwave.profiles.session import open_session
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import DataFolder, NoXanesError
from exitwave.profiles.xanes_depths import energies_ev
from exitwave.profiles.xanes_maps import edge_map_of, edges_of, normalisation_of

from .conftest import client_of

REGION_PX = 448
EDGE_EV = 8333.0
ENERGIES = [
    *(8233.0, 8253.0, 8273.0, 8298.0),
    *np.arange(8334.0, 8352.0, 1.5).tolist(),
    *(8360.0, 8380.0, 8400.0, 8440.0, 8480.0, 8530.0),
]


@pytest.mark.timeout(420)
def test_a_user_gets_from_a_uid_to_a_map(tmp_path: Path) -> None:
    # A perfect instrument: focus and energies are nominal, and only counts, optics and the particle decide.
    arguments = ["--prefix", "XMAP:", "--speed", "20", "--specimen", "ncm-cycled"]
    arguments += ["--truth-log", str(tmp_path / "frames.jsonl"), "--truth-spectra", str(tmp_path / "spectra.txt")]
    arguments += ["--truth-volume", str(tmp_path / "volume.h5"), "--truth-pitch-nm", "40"]
    simulator = SimulatedBeamline("bl18b", arguments, log=tmp_path / "simulator.log")
    data = DataFolder(tmp_path / "data")
    with client_of(simulator), open_session("bl18b", data=data, simulator=simulator, services=False) as session:
        engine, space, microscope = session.RE, session.namespace, session.instrument.microscope
        microscope.detector.objective.set("4x").wait(timeout=30)
        engine(space["set_energy"](1e-3 * EDGE_EV))
        camera = microscope.camera
        size = int(camera.cam.max_size_x.get()), int(camera.cam.max_size_y.get())
        engine(set_region(camera, *central_region(REGION_PX, *size)))
        some: dict[str, Any] = {"exposure_s": 2.0, "num_frames": 2, "num_flats": 3, "num_darks": 5}
        uid = run_plan(session, space["xanes"].imaging(ENERGIES, "Ni", **some))
        with session.open_xanes(uid) as stack:
            # standards as from files: normalised by the scan's own ranges, on its energies
            spectra = xanes_truth.true_spectra(tmp_path / "spectra.txt")
            energies = energies_ev(stack)
            assert energies == pytest.approx(ENERGIES, abs=0.2)
            ranges = normalisation_of(energies, edge_energy_ev("Ni"))
            standards = {
                name: (energies, ranges.spectrum(np.interp(energies, spectra["energy"], spectra[name]))[0])
                for name in ("Ni2+", "Ni3+")
            }
            found = edge_map_of(stack, standards=standards)
            told = xanes_truth.frame_truth(stack, tmp_path / "frames.jsonl")
            with pytest.raises(NoXanesError, match="no such point"):
                edge_map_of(stack, position=1)
    aligned = found.aligned
    assert found.method == "mixture"
    assert aligned.depth.shape == (len(ENERGIES), REGION_PX, REGION_PX)
    assert found.normalisation.e0_ev == pytest.approx(EDGE_EV)
    corner = (size[0] - REGION_PX) / 2
    shape = (REGION_PX, REGION_PX)
    thickness = xanes_truth.thickness_um(tmp_path / "volume.h5", told, aligned.reference, shape, corner)
    # where pixels see nothing but the particle: its outline is blurred
    inside = np.asarray(surface_depth_nm(thickness.sum(axis=0) > 0.5, aligned.pixel_nm) > 250.0)
    assert (found.mask | ~inside).mean() > 0.99
    true, _ = xanes_truth.true_edge_map(thickness, spectra, found.normalisation, inside)
    bound = xanes_truth.true_bound_map(thickness, spectra, found.normalisation, inside, aligned)
    figures = xanes_truth.edge_figures(found.edge_ev, found.sd_ev, true, bound)
    assert figures["pixels"] > 30_000
    assert abs(figures["edge_bias_ev"]) <= 0.05
    # no unbiased estimate is under one; blur of the optics and standards that are not the particle's own states add
    assert 0.95 < figures["edge_rms_over_bound"] <= 1.3
    assert 0.9 < figures["pull_width"] < 1.1
    # without standards: the same energies to what straight lines between points 1.5 eV apart leave
    half = edges_of(aligned, EDGE_EV, mask=inside)
    assert half.method == "half"
    assert float(np.nanmedian(half.edge_ev - true)) == pytest.approx(0.0, abs=0.75)
    assert float(np.nanmedian(half.sd_ev)) > float(np.nanmedian(bound[inside]))

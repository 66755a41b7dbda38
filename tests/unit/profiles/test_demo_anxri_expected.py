"""What the demonstration of ANXRI expects, beside the simulator's own images under a probe that it does not know."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from exitwave.analysis.columns import classify_sites, fit_lattice, minor_sites
from exitwave.profiles.demos.anxri_expected import Optics, expected_widths
from exitwave.profiles.demos.anxri_scene import Scene
from exitwave.profiles.demos.anxri_specimens import SPECIMENS
from exitwave.simulators.physics.eds_events import interpolate
from exitwave.simulators.physics.electron_crystals import crystal
from exitwave.simulators.physics.electron_probe import Probe
from exitwave.simulators.stem.field import FieldRequest, build_field
from exitwave.simulators.stem.layout import INSTRUMENTS
from exitwave.simulators.stem.modes import Physics

TITAN, STO = INSTRUMENTS["titan-g2"], SPECIMENS["SrTiO3"]
CELL_PM, PIXEL_PM, SIDE = 390.5, 34.0, 62


def _maps(aberrations_nm: dict[str, float]) -> np.ndarray:
    """Both windows as the simulator has them, without noise."""
    field = build_field(
        FieldRequest(
            centre_nm=(0.0, 0.0), half_nm=1.2, tilt_deg=(0.0, 0.0), probe=Probe(200.0, 25.0, 35.18, aberrations_nm),
            physics=Physics(), segments=TITAN.segments, rim_deg=5.0, holder_deg=(0.0, 0.0),
            haadf_mrad=TITAN.haadf_mrad, own_lines=TITAN.own_lines, grid_lines=TITAN.grid_lines, electrons=1e7,
        ),
        crystal("SrTiO3"),
    )  # fmt: skip
    places = np.asarray(1e-3 * PIXEL_PM * (np.arange(SIDE) - 0.5 * (SIDE - 1)), np.float64)
    which = [field.names.index(name) for name in ("brems 3.53-4.29", "brems 5.24-6")]
    out, wx, wy = np.empty(field.maps.shape[2]), np.empty(4), np.empty(4)
    maps = np.empty((2, SIDE, SIDE))
    for i, y in enumerate(places):
        gx, gy = field.grid(places, np.full(SIDE, y))
        for j in range(SIDE):
            interpolate(field.maps, gx[j], gy[j], wx, wy, out)
            maps[:, i, j] = out[which]
    return maps * (200.0 / maps.max(axis=(1, 2)))[:, None, None]


def _scene(maps: np.ndarray) -> Scene:
    """A scene of these maps, with columns where the specimen has them."""
    h, k = (part.ravel() for part in np.mgrid[-3:4, -3:4])
    sr = CELL_PM * np.column_stack([h, k])
    middle = 0.5 * (SIDE - 1)
    every = np.vstack([sr, sr + 0.5 * CELL_PM]) / PIXEL_PM + middle
    inside = ((every > 2.0) & (every < SIDE - 3.0)).all(axis=1)
    positions = every[inside]
    lattice = fit_lattice(positions)
    chosen = np.asarray((np.abs(positions - middle) < 0.35 * SIDE).all(axis=1), bool)
    return Scene(
        maps, np.ones((SIDE, SIDE)), np.zeros_like(maps), PIXEL_PM, positions, lattice,
        minor_sites(lattice, positions, (SIDE, SIDE), centred=True), chosen,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("aberrations_nm", "wider"),
    [({}, False), ({"C10": 1.5}, True), ({"C12A": 1.2, "C21B": 17.0, "C23A": 30.0, "C34A": 1100.0}, True)],
)
def test_a_probe_that_nobody_knows_lies_within_what_is_expected(aberrations_nm: dict[str, float], wider: bool) -> None:
    """The same columns differ by 3 to 5 pm, by what the probe is; lone ones would by half a picometre."""
    scene = _scene(_maps(aberrations_nm))
    fits = [scene.fit(scene.maps[k], k) for k in (0, 1)]
    kinds = classify_sites(scene.lattice, fits[0].intensity)
    expected = expected_widths(scene, fits, kinds, STO, Optics(200.0, 25.0, 35.18))
    for k, fit in enumerate(fits):
        width = PIXEL_PM * fit.fwhm
        found = width[scene.chosen & (kinds == 0)].mean() - width[scene.chosen & (kinds == 1)].mean()
        middle, half = expected.species[k]
        print(f"{aberrations_nm}: Sr - Ti/O {found:+.2f} pm, expected {middle:+.2f} ± {half:.2f} pm")
        assert abs(found - middle) < half + 0.3
        assert (half > 0.3) == wider
    found = PIXEL_PM * float(np.mean((fits[0].fwhm - fits[1].fwhm)[scene.chosen]))
    assert found == pytest.approx(expected.window[0], abs=expected.window[1] + 0.1)


def test_what_is_expected_does_not_hang_on_how_a_weak_column_was_fitted() -> None:
    """A column that shows little is fitted somewhere, with some width: what is expected of the others stays."""
    scene = _scene(_maps({}))
    fits = [scene.fit(scene.maps[k], k) for k in (0, 1)]
    kinds = classify_sites(scene.lattice, fits[0].intensity)
    clean = expected_widths(scene, fits, kinds, STO, Optics(200.0, 25.0, 35.18))
    weak = int(np.flatnonzero(scene.chosen)[0])
    parameters = fits[1].parameters.copy()
    # height, (y, x), and the shape: a tenth as high, two pixels off, 1.6 times as narrow
    parameters[weak, 1:] *= np.array([0.1, 1.0, 1.0, 2.5])
    parameters[weak, 2] += 2.0
    poor = [fits[0], replace(fits[1], parameters=parameters)]
    found = expected_widths(scene, poor, kinds, STO, Optics(200.0, 25.0, 35.18))
    assert found.window[0] == pytest.approx(clean.window[0], abs=0.1)
    assert found.fwhm == pytest.approx(clean.fwhm, abs=0.1)

"""Recorded series served as the camera: what comes out is what the file says."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import cast

import bluesky.plan_stubs as bps
import h5py
import numpy as np
import pytest

from exitwave.analysis import correction
from exitwave.analysis.io import open_series, open_xradia
from exitwave.analysis.tomography import Geometry, reconstruct
from exitwave.analysis.tomography.attenuation import line_integrals
from exitwave.profiles.session import Session, open_session
from exitwave.profiles.simulation import SimulatedBeamline
from exitwave.profiles.storage import DataFolder

from .conftest import client_of

REALDATA = Path(os.environ.get("EXITWAVE_REALDATA", Path(__file__).resolve().parents[3] / "shared/data"))


@contextmanager
def _replay(file: Path, folder: Path) -> Iterator[Session]:
    if not file.is_file():
        pytest.skip(f"real measurement {file.name} is not there; set EXITWAVE_REALDATA")
    arguments = ["--replay", str(file), "--speed", "20", "--prefix", f"{file.stem.upper()[:5]}:"]
    simulator = SimulatedBeamline("bl18b", arguments, log=folder / "simulator.log")
    data = DataFolder(folder / "data")
    with client_of(simulator), open_session("bl18b", data=data, simulator=simulator, services=False) as session:
        yield session


def _radiograph_at(session: Session, theta_deg: float, num_darks: int, num_flats: int) -> dict[str, np.ndarray]:
    def plan():
        yield from bps.mv(session.namespace["sample"].theta, theta_deg)
        return (yield from session.namespace["txm"].radiograph(0.2, 1, num_darks=num_darks, num_flats=num_flats))

    (uid,) = cast(tuple[str, ...], session.RE(plan()))
    run = session.open_run(uid)
    return {name: run.to_xarray(name)["hr_camera"].values for name in ("dark", "flat", "primary")}


@pytest.mark.realdata
@pytest.mark.timeout(120)
def test_a_tooth_through_the_whole_chain_equals_the_file(tmp_path: Path) -> None:
    path = REALDATA / "tomography/tooth.h5"
    with _replay(path, tmp_path) as session, h5py.File(path) as file:
        exchange = file["exchange"]
        theta = exchange["theta"][:]
        for index in (0, 57, 120):
            frames = _radiograph_at(
                session, float(theta[index]), len(exchange["data_dark"]), len(exchange["data_white"])
            )
            np.testing.assert_array_equal(frames["primary"][0], exchange["data"][index])
            dark = exchange["data_dark"][:].astype(np.float64).mean(0)
            flat = exchange["data_white"][:].astype(np.float64).mean(0)
            direct = (exchange["data"][index].astype(np.float64) - dark) / (flat - dark)
            ours = correction.flat_field(frames["primary"][0], frames["flat"], frames["dark"])
            np.testing.assert_allclose(ours, direct, rtol=4 * float(np.finfo(np.float32).eps), atol=1e-6)


@pytest.mark.realdata
@pytest.mark.timeout(120)
def test_a_chip_through_the_whole_chain_equals_the_file(tmp_path: Path) -> None:
    path = REALDATA / "txm-xradia/txrm_test_chip_tomo.txrm"
    with _replay(path, tmp_path) as session:
        series = open_xradia(path)
        assert series.angles_deg is not None
        for index in (0, 3, 6):
            frames = _radiograph_at(session, float(series.angles_deg[index]), 1, 1)
            np.testing.assert_array_equal(frames["primary"][0], np.asarray(series.frames[index]))


@pytest.mark.realdata
@pytest.mark.timeout(240)
def test_a_tooth_turned_in_a_fly_scan_reconstructs_as_from_the_file(tmp_path: Path) -> None:
    path = REALDATA / "tomography/tooth.h5"
    with _replay(path, tmp_path) as session, open_series(path) as direct:
        theta = direct.angles_deg
        assert theta is not None
        assert direct.flats is not None
        assert direct.darks is not None
        step = float(theta[-1] - theta[0]) / (len(theta) - 1)
        first = float(theta[0])
        plan = session.namespace["ct"].fly_tomography(
            first,
            first + step * len(theta),
            len(theta),
            exposure_s=0.5,
            num_flats=len(direct.flats),
            num_darks=len(direct.darks),
            flats="before",
        )
        (uid,) = cast(tuple[str, ...], session.RE(plan))
        with session.open_tomogram(uid) as tomogram:
            assert tomogram.complete
            raw = np.stack(list(tomogram.frames))
            np.testing.assert_array_equal(raw, np.stack(list(direct.frames)))
            ours = line_integrals(tomogram.frames, tomogram.flats, tomogram.darks, zinger_sigma=None)
            angles = tomogram.angles_deg
        theirs = line_integrals(direct.frames, direct.flats, direct.darks, zinger_sigma=None)
        np.testing.assert_allclose(ours, theirs, atol=2e-5)
        centre = 296.0
        of_file = reconstruct(theirs, Geometry(theta, theirs.shape[2], centre))
        same_angles = reconstruct(ours, Geometry(theta, ours.shape[2], centre))
        encoder = reconstruct(ours, Geometry(angles, ours.shape[2], centre))
        contrast = float(of_file.std())
        rounding = float(np.abs(same_angles - of_file).max()) / contrast
        turned = float(np.sqrt(np.mean((encoder - of_file) ** 2))) / contrast
        print(
            f"tooth, {len(theta)} angles: largest difference {rounding:.1e} of the contrast; with the encoder's angles "
            f"(at most {np.abs(angles - theta).max():.4f} deg off) rms {turned:.1e}"
        )
        assert rounding < 1e-3
        assert turned < 0.02

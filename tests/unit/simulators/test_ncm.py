"""NCM particles: compiled chords against the general ones and against voxels, figures, names, the truth's files."""

from __future__ import annotations

import json
import math

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import map_coordinates

from exitwave.simulators.bl18b.ncm import LABELS, ncm_particle
from exitwave.simulators.bl18b.specimens import (
    NoTruthVolumeError,
    UnknownSpecimenError,
    specimen,
    specimen_figures,
    write_truth_volume,
)
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics.bodies import Ellipsoid
from exitwave.simulators.physics.materials import GOLD
from exitwave.simulators.physics.quadrics import Aggregate, TiltedEllipsoid, Tube
from exitwave.simulators.physics.specimen import BodySpecimen, Grid

GRID = Grid.centred((48, 64), 0.15, 0.02, -0.03)
X, Y = np.meshgrid(GRID.x_um, GRID.y_um)


def tilted(rng, spread=2.0):
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    first, second, third = (vector(row) for row in directions)
    return TiltedEllipsoid(
        vector(rng.uniform(-spread, spread, 3)), vector(rng.uniform(0.1, 1.8, 3)), (first, second, third)
    )


def vector(values) -> tuple[float, float, float]:
    x, y, z = (float(v) for v in values)
    return x, y, z


def compiled(body, theta_deg, grid=GRID):
    return BodySpecimen("one", ((body, GOLD),)).layers(grid, theta_deg)[0][1]


@given(seed=st.integers(0, 10_000), theta=st.floats(-360.0, 360.0))
@settings(max_examples=25, deadline=None)
def test_chords_of_an_ellipsoid_come_from_points_inside(seed, theta):
    body = tilted(np.random.default_rng(seed))
    step = 0.01
    depth = np.arange(-5.0, 5.0, step) + step / 2
    c, s = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    x, y = X[20:28:4, 20:44:3], Y[20:28:4, 20:44:3]
    beam = np.stack(np.broadcast_arrays(x[..., None], y[..., None], depth), axis=-1)
    stage = np.stack([beam[..., 0] * c - beam[..., 2] * s, beam[..., 1], beam[..., 0] * s + beam[..., 2] * c], axis=-1)
    counted = body.contains(stage).sum(axis=-1) * step
    assert compiled(body, theta)[20:28:4, 20:44:3] == pytest.approx(counted, abs=2.1 * step)


def test_an_upright_one_is_the_ellipsoid_of_the_bodies():
    upright = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
    for theta in (0.0, 30.0, 100.0):
        old = compiled(Ellipsoid((0.4, -0.2, 0.9), (1.2, 0.7, 2.0)), theta)
        new = compiled(TiltedEllipsoid((0.4, -0.2, 0.9), (1.2, 0.7, 2.0), upright), theta)
        assert new == pytest.approx(old, abs=1e-5)


@given(seed=st.integers(0, 10_000), theta=st.floats(-180.0, 180.0))
@settings(max_examples=15, deadline=None)
def test_aggregates_agree_with_the_general_rules(seed, theta):
    rng = np.random.default_rng(seed)
    body = Aggregate(tuple(tilted(rng) for _ in range(4)), tuple(tilted(rng) for _ in range(5)))
    assert compiled(body, theta) == pytest.approx(body.chord(X, Y, theta), abs=2e-5)


def test_tubes_agree_with_the_general_rules():
    body = Tube((0.5, -1.0, 0.3), 1.5, 1.0, 3.0)
    for theta in (0.0, 77.0):
        assert compiled(body, theta) == pytest.approx(body.chord(X, Y, theta), abs=1e-5)


@pytest.mark.parametrize("theta", [0.0, 35.0, 90.0, 200.0])
def test_voxels_project_to_the_chords_in_the_stated_geometry(theta):
    particle = ncm_particle(cycled=True, seed=5)
    pitch = 0.04
    labels = particle.labels(pitch)
    side = labels.shape[0]
    solid = (labels == LABELS["material"]).astype(np.float32)
    middle = 0.5 * (side - 1)
    turn = math.radians(theta)
    # the ray of column s: x cos + y sin = s
    s, along = np.meshgrid(np.arange(side) - middle, np.arange(side) - middle, indexing="ij")
    x = s * math.cos(turn) - along * math.sin(turn) + middle
    y = s * math.sin(turn) + along * math.cos(turn) + middle
    whole = Aggregate(particle.aggregate.solids, particle.aggregate.voids)
    rays = compiled(whole, theta, Grid.centred((side, side), pitch))
    for row in (70, 120, 131):
        projected = map_coordinates(solid[row], [y, x], order=1).sum(axis=1) * pitch
        assert np.sqrt(np.mean((projected - rays[row]) ** 2)) < 1.5 * pitch, "a voxel at each end of a chord"
        assert projected.sum() == pytest.approx(float(rays[row].sum()), rel=0.01)


def test_cycled_particles_have_cracks_from_the_centre_and_pristine_ones_none():
    cycled, pristine = (ncm_particle(cycled=kind, seed=4) for kind in (True, False))
    assert cycled.envelope == pristine.envelope
    assert cycled.pores == pristine.pores
    assert pristine.cracks == ()
    assert pristine.figures["crack_fraction"] == 0.0
    for crack in cycled.cracks:
        assert crack.contains(np.array([0.0, 0.0, 0.0])) or np.linalg.norm(crack.centre) < crack.semi_axes[0]
        assert 0.1 <= 2 * crack.semi_axes[2] <= 0.3
    by_depth = cycled.figures["crack_fraction_by_depth"]
    assert by_depth[0] < 0.02 < 0.1 < by_depth[-1]
    assert 0.02 < cycled.figures["crack_fraction"] < 0.06


def test_figures_are_those_of_the_analytic_volumes():
    particle = ncm_particle(cycled=False, seed=9)
    a, b, c = particle.envelope.semi_axes
    assert particle.figures["volume_um3"] == pytest.approx(4 / 3 * math.pi * a * b * c, rel=0.02)
    pores = sum(4 / 3 * math.pi * math.prod(pore.semi_axes) for pore in particle.pores)
    # pores overlap a little and stay a little below their sum
    assert particle.figures["pore_fraction"] == pytest.approx(pores / particle.figures["volume_um3"], rel=0.06)


def test_grains_stay_clear_of_voids_and_fiducials_of_the_surface():
    particle = ncm_particle(cycled=True, seed=2, fiducials=True)
    assert len(particle.grains_inside) > 200
    voids = (*particle.cracks, *particle.pores)
    for grain in particle.grains_inside:
        assert not any(void.contains(np.array(grain.centre)) for void in voids)
    assert len(particle.fiducials) == 12
    for gold in particle.fiducials:
        assert not particle.envelope.contains(np.array(gold.centre))


def test_names():
    assert specimen("ncm-cycled+fiducials:7").name == "ncm-cycled+fiducials:7"
    assert specimen("ncm-pristine").name == "ncm-pristine:11"
    for wrong in ("ncm-particle", "ncm-cycled:", "ncm-cycled:x", "ncm-cycled:7+fiducials"):
        with pytest.raises(UnknownSpecimenError, match="ncm-cycled"):
            specimen(wrong)


def test_the_truth_states_the_particle_and_reads_back_without_it(tmp_path):
    path = tmp_path / "truth.json"
    truth = Truth.draw(3)
    truth.to_json(path, specimen=specimen_figures("ncm-cycled:7"))
    stated = json.loads(path.read_text())
    assert stated["specimen"]["crack_fraction"] == ncm_particle(cycled=True, seed=7).figures["crack_fraction"]
    assert stated["stage_jitter_um"] == list(truth.stage_jitter_um)
    assert Truth.from_json(path) == truth


def test_the_volume_is_written_with_its_geometry(tmp_path):
    path = tmp_path / "volume.h5"
    write_truth_volume("ncm-cycled:7", path, 80.0)
    with h5py.File(path) as file:
        labels = file["labels"]
        assert labels.shape == (120, 120, 120)
        assert labels.dtype == np.uint8
        assert labels.attrs["pitch_nm"] == 80.0
        assert json.loads(labels.attrs["labels"])["crack"] == 2
        assert np.array_equal(labels[...], ncm_particle(cycled=True, seed=7).labels(0.08))
        # glass is under the particle: in the last rows
        assert (labels[-1] == LABELS["glass"]).any()
        assert not (labels[0] == LABELS["glass"]).any()
    with pytest.raises(NoTruthVolumeError, match="siemens-star"):
        write_truth_volume("siemens-star", path, 80.0)
    with pytest.raises(NoTruthVolumeError, match="nan nm"):
        write_truth_volume("ncm-cycled", path, float("nan"))

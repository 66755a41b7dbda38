"""Valence as a field: exact thickness of each state against sampling, voxels, particles and their truth."""

from __future__ import annotations

import dataclasses
import math

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.simulators.bl18b.ncm import BALANCED_VALENCE, CORE_VALENCE, LABELS, ncm_particle
from exitwave.simulators.bl18b.specimens import write_truth_volume
from exitwave.simulators.physics.materials import GLASS
from exitwave.simulators.physics.near_edge import StatedMaterial
from exitwave.simulators.physics.quadrics import TiltedEllipsoid
from exitwave.simulators.physics.specimen import BodySpecimen, Grid
from exitwave.simulators.physics.valence import Region, StatedAggregate, ValenceError

STANDARDS = (2.0, 3.0, 4.0)
GRID = Grid.centred((6, 9), 0.4, 0.02, -0.03)


def three(values):
    x, y, z = (float(value) for value in values)
    return x, y, z


def tilted(rng, largest=1.8):
    directions, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    centre, semi = three(rng.uniform(-1.0, 1.0, 3)), three(rng.uniform(0.2, largest, 3))
    return TiltedEllipsoid(centre, semi, (three(directions[0]), three(directions[1]), three(directions[2])))


def drawn(seed):
    rng = np.random.default_rng(seed)
    return StatedAggregate(
        solids=tuple(tilted(rng, 2.0) for _ in range(3)),
        voids=tuple(tilted(rng, 0.8) for _ in range(3)),
        dense=tuple(tilted(rng, 0.8) for _ in range(2)),
        extra_density=0.3,
        polynomial=(2.2, 0.3, 0.05),
        radius_um=3.0,
        reach_um=4.0,
        regions=tuple(Region(tilted(rng), float(rng.uniform(2.0, 4.0))) for _ in range(4)),
        standards=STANDARDS,
    )


def at_points(body, points):
    """Density and valence of points (..., 3), from the definitions."""
    solid = np.any([one.contains(points) for one in body.solids], axis=0)
    solid &= ~np.any([one.contains(points) for one in body.voids], axis=0)
    dense = np.any([one.contains(points) for one in body.dense], axis=0)
    s = (points**2).sum(axis=-1) / body.radius_um**2
    valence = body.polynomial[0] + body.polynomial[1] * s + body.polynomial[2] * s * s
    for region in body.regions:
        valence = np.where(region.body.contains(points), region.valence, valence)
    return solid * (1.0 + body.extra_density * dense), valence


@given(seed=st.integers(0, 10_000), theta=st.floats(-180.0, 180.0), lean=st.floats(-0.1, 0.1))
@settings(max_examples=20, deadline=None)
def test_thickness_of_each_state_is_the_integral_of_its_part(seed, theta, lean):
    body = drawn(seed)
    grid = dataclasses.replace(GRID, lean_rad=lean)
    step = 0.002
    z = np.arange(-3.5, 3.5, step) + step / 2
    x, y = np.meshgrid(grid.x_um, grid.y_um)
    x, y = x * math.cos(lean) - y * math.sin(lean), x * math.sin(lean) + y * math.cos(lean)
    c, s = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    x, y, z = np.broadcast_arrays(x[..., None], y[..., None], z)
    density, valence = at_points(body, np.stack([x * c - z * s, y, x * s + z * c], axis=-1))
    made = body.thickness(grid, theta)
    for state, image in zip(STANDARDS, made, strict=True):
        part = np.maximum(1.0 - np.abs(valence - state), 0.0)
        assert image == pytest.approx((density * part).sum(axis=-1) * step, abs=30 * step)
    # a chord that misses a surface by less than a step changes one sample at each crossing; on average nothing is left
    total = density.sum(axis=-1) * step
    assert float(made.sum()) == pytest.approx(float(total.sum()), rel=2e-3)


def test_a_gradient_in_a_ball_has_the_closed_integral():
    r = 2.0
    ball = TiltedEllipsoid((0.0, 0.0, 0.0), (r, r, r), ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)))
    body = StatedAggregate((ball,), (), (), 0.0, (2.0, 0.5, 0.25), r, r, (), STANDARDS)
    grid = Grid(0.0, 0.0, 0.1, (1, 20))
    two, three, four = (image[0] for image in body.thickness(grid, 33.0))
    b2 = grid.x_um**2 / r**2
    half = np.sqrt(1.0 - b2)
    first = b2 * half + half**3 / 3.0
    second = b2**2 * half + 2.0 * b2 * half**3 / 3.0 + half**5 / 5.0
    assert three == pytest.approx(2.0 * r * (0.5 * first + 0.25 * second), rel=1e-5, abs=1e-6)
    assert two + three == pytest.approx(2.0 * r * half, rel=1e-5, abs=1e-6)
    assert not four.any()


def test_later_regions_count_and_leave_again():
    upright = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))

    def ball(z, radius):
        return TiltedEllipsoid((0.0, 0.0, z), (radius,) * 3, upright)

    regions = (Region(ball(0.0, 1.0), 3.0), Region(ball(0.2, 0.5), 4.0), Region(ball(-2.0, 0.5), 4.0))
    body = StatedAggregate((ball(0.0, 3.0),), (ball(2.0, 0.5),), (), 0.0, (2.0, 0.0, 0.0), 3.0, 3.0, regions, STANDARDS)
    assert body.thickness(Grid(0.0, 0.0, 1.0, (1, 1)), 0.0)[:, 0, 0] == pytest.approx([2.0, 1.0, 2.0])
    assert body.volume(0.5, np.ones((13, 13, 13), bool))[6, :, 6].tolist() == [
        2.0, 4.0, 4.0, 4.0, 3.0, 3.0, 4.0, 4.0, 3.0, 2.0, 2.0, 2.0, 2.0,
    ]  # fmt: skip


def test_fields_that_the_standards_do_not_span_are_refused():
    body = drawn(1)
    with pytest.raises(ValenceError, match=r"4\.5"):
        dataclasses.replace(body, regions=(Region(body.solids[0], 4.5),))
    with pytest.raises(ValenceError, match="two neighbours"):
        dataclasses.replace(body, polynomial=(2.5, 0.7, 0.0))


def test_particles_pristine_even_and_cycled_lower_inside():
    pristine, cycled = (ncm_particle(cycled=kind, seed=3) for kind in (False, True))
    pitch = 0.1
    even = pristine.valence(pitch)
    assert np.nanmax(even) == np.nanmin(even) == pytest.approx(BALANCED_VALENCE, abs=1e-3)
    labels = cycled.labels(pitch)
    valence = cycled.valence(pitch, labels).astype(np.float32)
    assert np.array_equal(np.isfinite(valence), labels == LABELS["material"])
    place = (np.arange(labels.shape[0]) - 0.5 * (labels.shape[0] - 1)) * pitch
    r = np.sqrt(place[:, None, None] ** 2 + place[None, :, None] ** 2 + place[None, None, :] ** 2)
    inside, outside = (float(np.nanmedian(valence[shell])) for shell in (r < 1.5, (r > 3.4) & (r < 3.9)))
    assert CORE_VALENCE - 0.1 < inside < 2.4 < 2.55 < outside < 2.75
    assert len(np.unique(valence[(r < 3.0) & np.isfinite(valence) & (valence > 2.7)])) > 5, "domains of other states"


@pytest.mark.parametrize("theta", [0.0, 40.0])
def test_states_of_a_particle_are_those_of_its_voxels(theta):
    particle = ncm_particle(cycled=True, seed=5)
    pitch = 0.06
    labels = particle.labels(pitch)
    valence = np.nan_to_num(particle.valence(pitch, labels).astype(np.float64))
    volume = float((labels == LABELS["material"]).sum()) * pitch**3
    grid = Grid.centred((240, 240), 0.04)
    plain = dataclasses.replace(particle.aggregate, extra_density=0.0)
    two, three, four = (float(image.sum(dtype=np.float64)) * 0.04**2 for image in plain.thickness(grid, theta))
    assert two + three + four == pytest.approx(volume, rel=2e-3)
    mean = valence.sum() * pitch**3 / volume
    assert (2.0 * two + 3.0 * three + 4.0 * four) / volume == pytest.approx(mean, rel=2e-3)


def test_layers_are_states_of_one_density_and_the_capillary():
    layers = ncm_particle(cycled=False).specimen().layers(Grid.centred((32, 32), 0.3), 0.0)
    stated = [material for material, _ in layers if isinstance(material, StatedMaterial)]
    assert [material.states[0].name for material in stated] == ["Ni2+", "Ni3+"]
    assert layers[-1][0] == GLASS
    thin = ncm_particle(cycled=True).specimen().layers(Grid.centred((32, 32), 0.3), 0.0)
    assert len(thin) == 4


def test_the_truth_volume_has_the_valence(tmp_path):
    path = tmp_path / "volume.h5"
    write_truth_volume("ncm-cycled:7", path, 100.0)
    with h5py.File(path) as file:
        valence, labels = file["valence"][...], file["labels"][...]
        assert valence.dtype == np.float16
        assert valence.shape == labels.shape
        assert np.array_equal(np.isfinite(valence), labels == LABELS["material"])
        assert file["valence"].attrs["element"] == "Ni"


def test_bodies_beside_are_not_changed():
    particle = ncm_particle(cycled=False, fiducials=True)
    specimen = particle.specimen()
    assert isinstance(specimen.others, BodySpecimen)
    assert len(specimen.others.parts) == 13

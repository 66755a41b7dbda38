"""Chord lengths, star coverage and voxel projections."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.simulators.bl18b.specimens import NAMED, UnknownSpecimenError, specimen
from exitwave.simulators.physics.bodies import (
    Cylinder,
    Difference,
    Ellipsoid,
    HalfSpace,
    Intersection,
    Union,
    box,
    slab,
    sphere,
)
from exitwave.simulators.physics.materials import GOLD
from exitwave.simulators.physics.quadrics import Tube
from exitwave.simulators.physics.specimen import BodySpecimen, Grid
from exitwave.simulators.physics.star import SiemensStar
from exitwave.simulators.physics.voxels import SpecimenFileError, VoxelSpecimen, load_voxels

GRAZING = 1e-6  # a ray that touches a surface: the root of a rounding error, um
ANGLES = st.floats(-180.0, 180.0)
X, Y = np.meshgrid(np.linspace(-4.0, 4.0, 81), np.linspace(-3.0, 3.0, 61))


def total(body, theta):
    """Volume by summing chords."""
    x, y = np.meshgrid(np.linspace(-6, 6, 601), np.linspace(-6, 6, 601))
    return float(body.chord(x, y, theta).sum()) * 0.02**2


@given(ANGLES)
def test_sphere_has_the_same_chords_from_everywhere_around_its_centre(theta):
    chord = sphere((0.0, 0.5, 0.0), 2.0).chord(X, Y, theta)
    exact = 2.0 * np.sqrt(np.maximum(4.0 - X**2 - (Y - 0.5) ** 2, 0.0))
    np.testing.assert_allclose(chord, exact, atol=GRAZING)


@given(ANGLES, st.floats(-2.0, 2.0), st.floats(-2.0, 2.0))
def test_a_body_goes_where_the_stage_turns_it(theta, x0, z0):
    chord = sphere((x0, 0.0, z0), 1.0).chord(X, Y, theta)
    c, s = math.cos(math.radians(theta)), math.sin(math.radians(theta))
    exact = 2.0 * np.sqrt(np.maximum(1.0 - (X - (x0 * c + z0 * s)) ** 2 - Y**2, 0.0))
    np.testing.assert_allclose(chord, exact, atol=GRAZING)


@settings(deadline=None, max_examples=15)
@given(ANGLES)
def test_volume_does_not_depend_on_the_angle(theta):
    body = Ellipsoid((0.4, -0.2, 0.7), (1.0, 2.0, 3.0))
    assert total(body, theta) == pytest.approx(4.0 / 3.0 * math.pi * 6.0, rel=2e-3)


def test_ellipsoid_from_front_and_side():
    body = Ellipsoid((0.0, 0.0, 0.0), (1.0, 2.0, 3.0))
    centre = np.zeros((1, 1))
    assert body.chord(centre, centre, 0.0)[0, 0] == pytest.approx(6.0)
    assert body.chord(centre, centre, 90.0)[0, 0] == pytest.approx(2.0)


def test_cylinder_slab_and_box():
    zero = np.zeros((1, 1))
    assert Cylinder((0, 0, 0), 1.5, 4.0).chord(zero, zero, 33.0)[0, 0] == pytest.approx(3.0)
    assert Cylinder((0, 0, 0), 1.5, 4.0).chord(zero, zero + 2.1, 33.0)[0, 0] == 0.0
    assert slab((0, 0, 0), (0.0, 0.0, 1.0), 0.5).chord(zero, zero, 60.0)[0, 0] == pytest.approx(1.0)
    assert box((0, 0, 0), (1.0, 2.0, 3.0)).chord(zero, zero, 90.0)[0, 0] == pytest.approx(1.0)


def test_half_space_cuts_a_sphere_in_two():
    ball, half = sphere((0, 0, 0), 2.0), HalfSpace((0.0, 0.0, 0.0), (0.0, 0.0, 1.0))
    np.testing.assert_allclose(Intersection((ball, half)).chord(X, Y, 0.0), 0.5 * ball.chord(X, Y, 0.0), atol=GRAZING)


@given(ANGLES)
def test_union_and_difference_count_overlaps_once(theta):
    a, b = sphere((0.0, 0.0, 0.0), 2.0), sphere((1.0, 0.0, 0.5), 1.5)
    common = Intersection((a, b)).chord(X, Y, theta)
    both = a.chord(X, Y, theta) + b.chord(X, Y, theta)
    np.testing.assert_allclose(Union((a, b)).chord(X, Y, theta), both - common, atol=GRAZING)
    np.testing.assert_allclose(Difference(a, (b, b)).chord(X, Y, theta), a.chord(X, Y, theta) - common, atol=GRAZING)


@pytest.mark.parametrize("theta", [0.0, 37.0, 90.0, 200.0])
def test_compiled_chords_are_the_analytic_ones(theta):
    whole = Ellipsoid((0.2, 0.1, 0.0), (2.0, 1.5, 1.0))
    holes = (sphere((0.5, 0.0, 0.3), 0.5), sphere((0.8, 0.2, 0.1), 0.4), sphere((-1.9, 0.0, 0.0), 0.3))
    lean = 0.2
    grid = Grid(-3.0, 2.0, 0.05, (80, 120), lean)
    x, y = np.meshgrid(grid.x_um, grid.y_um)
    x, y = x * math.cos(lean) - y * math.sin(lean), x * math.sin(lean) + y * math.cos(lean)
    tube = Tube((0.3, -0.4, 0.2), 1.0, 0.6, 1.5)
    for body in (whole, Difference(whole, holes), tube, box((0.1, 0.2, 0.0), (1.0, 1.5, 0.7))):
        [(_, image)] = BodySpecimen("test", ((body, GOLD),)).layers(grid, theta)
        np.testing.assert_allclose(image, body.chord(x, y, theta), atol=2e-5)


def ball_of(kind):
    """A small ball 2 um from the axis and 1.5 um up, as bodies or as voxels."""
    if kind == "bodies":
        return BodySpecimen("ball", ((sphere((2.0, 1.5, 0.0), 0.5), GOLD),))
    n, voxel = 64, 0.1
    y, _, x = (np.indices((n, n, n)) - 0.5 * (n - 1)) * voxel
    z = x.transpose(0, 2, 1)
    inside = (np.hypot(np.hypot(x - 2.0, z), y + 1.5) < 0.5).astype(np.float32)
    return VoxelSpecimen("ball", inside, voxel, GOLD)


@pytest.mark.parametrize("kind", ["bodies", "voxels"])
@pytest.mark.parametrize("theta", [0.0, 180.0])
def test_a_leaning_axis_turns_the_picture(kind, theta):
    lean = math.radians(4.0)
    grid = Grid.centred((200, 200), 0.04)
    level = ball_of(kind).layers(grid, theta)[0][1]
    leaning = ball_of(kind).layers(dataclasses.replace(grid, lean_rad=lean), theta)[0][1]

    def place(image):
        return (image.sum(axis=0) @ grid.x_um) / image.sum(), (image.sum(axis=1) @ grid.y_um) / image.sum()

    x, y = place(level)
    assert y == pytest.approx(1.5, abs=0.01)
    # a true turn: the rows move as well, by x sin(lean), and the upper end goes towards x
    c, s = math.cos(lean), math.sin(lean)
    assert place(leaning) == pytest.approx((x * c + y * s, y * c - x * s), abs=2e-3)


def test_the_star_turns_as_a_whole():
    lean = math.radians(3.0)
    star = SiemensStar(marks_nm=())
    grid = Grid.centred((120, 120), 0.1, 4.0, 5.0)
    x, y = np.meshgrid(grid.x_um, grid.y_um)
    for theta in (0.0, 180.0):
        side = 1.0 if theta == 0.0 else -1.0
        turned = (np.arctan2(y, side * x) + side * lean) * star.spokes / (2.0 * math.pi)
        gold = turned % 1.0 < 0.5
        seen = star.coverage(dataclasses.replace(grid, lean_rad=lean), theta)
        whole = ((seen == 0.0) | (seen == 1.0)) & (np.hypot(x, y) > 1.0)
        assert whole.mean() > 0.5
        assert np.array_equal(seen[whole] == 1.0, gold[whole])


def test_star_covers_half_of_its_rings():
    star = SiemensStar(marks_nm=())
    grid = Grid.centred((1001, 1001), 0.032)
    area = float(star.coverage(grid).sum()) * 0.032**2
    assert area == pytest.approx(0.5 * math.pi * (15.0**2 - star.inner_radius_um**2), rel=2e-4)


def test_smallest_spoke_is_30_nm():
    star = SiemensStar()
    assert 2.0 * math.pi * star.inner_radius_um / star.spokes == pytest.approx(0.060)


def test_star_coverage_agrees_with_brute_force():
    star = SiemensStar()
    coarse, fine = Grid.centred((60, 60), 0.04, 0.5, 0.3), Grid.centred((960, 960), 0.0025, 0.5, 0.3)
    brute = star.coverage(fine).reshape(60, 16, 60, 16).mean(axis=(1, 3))
    np.testing.assert_allclose(star.coverage(coarse), brute, atol=0.05)
    assert abs(float((star.coverage(coarse) - brute).mean())) < 1e-3


def test_star_seen_from_behind_is_turned_over():
    grid = Grid.centred((64, 64), 0.05, 0.7, 0.4)
    mirrored = Grid.centred((64, 64), 0.05, -0.7, 0.4)
    star = SiemensStar()
    np.testing.assert_allclose(star.coverage(grid, 180.0), star.coverage(mirrored, 0.0)[:, ::-1], atol=1e-6)


@pytest.mark.parametrize("theta", [0.0, 30.0, 90.0])
def test_voxel_projection_agrees_with_the_analytic_sphere(theta):
    n, voxel = 48, 0.1
    y, z, x = (np.indices((n, n, n)) - 0.5 * (n - 1)) * voxel
    inside = (np.hypot(np.hypot(x - 0.5, z - 0.2), y) < 1.5).astype(np.float32)
    grid = Grid.centred((40, 40), 0.1)
    [(_, image)] = VoxelSpecimen("ball", inside, voxel, GOLD).layers(grid, theta)
    [(_, exact)] = BodySpecimen("ball", ((sphere((0.5, 0.0, 0.2), 1.5), GOLD),)).layers(grid, theta)
    assert float(image.sum()) * 0.1**2 == pytest.approx(float(inside.sum()) * 0.1**3, rel=2e-3)
    assert np.corrcoef(image.ravel(), exact.ravel())[0, 1] > 0.998


def test_voxel_files(tmp_path):
    path = tmp_path / "ball.npy"
    np.save(path, np.ones((4, 5, 6), np.float32))
    assert load_voxels(path).volume.shape == (4, 5, 6)
    np.save(path, np.ones((4, 5)))
    with pytest.raises(SpecimenFileError, match="finite volume"):
        load_voxels(path)


@pytest.mark.parametrize("name", NAMED)
def test_every_named_specimen_projects(name):
    layers = specimen(name).layers(Grid.centred((32, 32), 0.3), 20.0)
    assert (name == "none") == (not layers)
    for _, image in layers:
        assert image.dtype == np.float32
        assert np.isfinite(image).all()
        assert image.max() > 0.0


def test_unknown_specimen_is_named():
    with pytest.raises(UnknownSpecimenError, match="siemens-star"):
        specimen("no-such-thing")

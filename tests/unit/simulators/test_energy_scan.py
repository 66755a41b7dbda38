"""What an energy scan of a particle sees: its states' absorption, in focus and at the scale that the lens makes."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from exitwave.simulators.bl18b.ncm import MATRIX_G_CM3, STATES, ncm_particle
from exitwave.simulators.bl18b.rest import Rest, focus_mm
from exitwave.simulators.bl18b.specimens import UnknownSpecimenError, specimen
from exitwave.simulators.bl18b.truth import TrueZonePlate, Truth
from exitwave.simulators.bl18b.world import World
from exitwave.simulators.physics.constants import SIGMA_PER_FWHM
from exitwave.simulators.physics.materials import NMC622
from exitwave.simulators.physics.near_edge import StatedMaterial
from exitwave.simulators.physics.specimen import Grid
from exitwave.simulators.physics.standards import NICKEL, STANDARDS

MIDDLE = (slice(960, 1088), slice(960, 1088))


def at(energy_kev):
    return Rest(energy_kev, ZPA_Z=focus_mm(20.164 * energy_kev / 8.0))


def depth(name, energy_kev):
    """Mean -ln(T) of the middle of the field."""
    rest = at(energy_kev)
    images = [World(rest, Truth.nominal(), specimen=s).photons_per_s("HR1", MIDDLE, 0.0) for s in (name, "none")]
    return float(-np.log(images[0] / images[1]).mean())


@pytest.mark.parametrize("kind", ["pristine", "cycled"])
def test_the_middle_of_a_particle_absorbs_as_its_states(kind):
    particle = ncm_particle(cycled=kind == "cycled")
    for energy in (8.30, 8.340, 8.342, 8.347, 8.40):
        world = World(at(energy), Truth.nominal(), specimen="none")
        pitch = 0.65 / world.magnification("HR1", 0.0)
        thickness = particle.aggregate.thickness(Grid.centred((128, 128), pitch), 0.0).mean(axis=(1, 2))
        # a Gaussian of the beam's width, sampled
        sigma_ev = 1e3 * energy * world.beam_state(0.0).bandwidth * SIGMA_PER_FWHM
        away = np.linspace(-4.0, 4.0, 81)
        weight = np.exp(-0.5 * away**2)
        mu = [
            float((state.photo_cm2_g(1e3 * energy + sigma_ev * away) * weight).sum() / weight.sum()) for state in STATES
        ]
        expected = sum(m * MATRIX_G_CM3 * 1e-4 * t for m, t in zip(mu, thickness, strict=True))
        assert depth(f"ncm-{kind}", energy) == pytest.approx(expected, rel=0.01)


def test_the_cycled_middle_has_the_lower_edge():
    heights, expected, valences = {}, {}, {}
    energies_ev = np.array([8341.0, 8300.0, 8420.0])
    pitch = 0.65 / World(at(8.341), Truth.nominal(), specimen="none").magnification("HR1", 0.0)
    for kind in ("pristine", "cycled"):
        at_edge, before, after = (depth(f"ncm-{kind}", 1e-3 * e) for e in energies_ev)
        heights[kind] = (at_edge - before) / (after - before)
        grid = Grid.centred((128, 128), pitch)
        parts = ncm_particle(cycled=kind == "cycled").aggregate.thickness(grid, 0.0).mean(axis=(1, 2))
        parts /= parts.sum()
        valences[kind] = float(parts @ [2.0, 3.0, 4.0])
        # the absorption of the edge falls with E^-3 behind it
        mixed = parts @ np.array([standard.normalised(energies_ev) for standard in NICKEL]) * energies_ev**-3.0
        expected[kind] = (mixed[0] - mixed[1]) / (mixed[2] - mixed[1])
    assert valences["pristine"] - valences["cycled"] > 0.25
    assert heights["cycled"] - heights["pristine"] > 0.05
    for kind, height in heights.items():
        # the slope of the other elements and the beam's width are not in the mixture
        assert height == pytest.approx(expected[kind], abs=0.01)


def test_a_spectrum_is_seen_with_the_beams_width():
    state = StatedMaterial(NMC622.formula, MATRIX_G_CM3, (NICKEL[0],))
    energy, width = 8.3405, 2e-4
    places = np.linspace(-4.0, 4.0, 161)
    weight = np.exp(-0.5 * places**2)
    sharp = [state.delta_beta(energy * (1.0 + p * width * SIGMA_PER_FWHM)) for p in places]
    delta, beta = weight @ np.array(sharp) / weight.sum()
    seen_delta, seen_beta = state.delta_beta(energy, width)
    assert seen_beta == pytest.approx(beta, rel=1e-5)
    # the spline that the tables' reader lays through f' depends a little on the energies asked for together
    assert seen_delta == pytest.approx(delta, rel=1e-3)
    assert state.delta_beta(energy, 1e-9)[1] == pytest.approx(state.delta_beta(energy)[1], rel=1e-6)


def test_the_lens_has_to_follow_and_the_scale_changes():
    still, worlds = Rest(8.2), {}
    for energy in (8.2, 8.6):
        worlds[energy] = World(at(energy), Truth.nominal(), specimen="none")
        assert abs(worlds[energy].defocus_um("HR1", 0.0)) < 1.0
    still.axes["DCM:Bragg"] = at(8.6).axes["DCM:Bragg"]
    # f grows with the energy: 21.7 mm by 5 %
    assert abs(World(still, Truth.nominal(), specimen="none").defocus_um("HR1", 0.0)) == pytest.approx(1008.0, rel=0.1)
    scale = worlds[8.2].magnification("HR1", 0.0) / worlds[8.6].magnification("HR1", 0.0)
    assert scale == pytest.approx(8.6 / 8.2, rel=0.005)


def test_the_lens_runs_out_sideways_as_it_follows():
    plate = TrueZonePlate(125.0, 25.0, 0.7, runout_slope_um_mm=(0.2, -0.1))
    straight = Truth.nominal()
    crooked = dataclasses.replace(straight, zone_plate_a=plate)
    places = {}
    for truth in (straight, crooked):
        for energy in (8.2, 8.6):
            world = World(at(energy), truth, specimen="none")
            seen = world._microscope.truth_of_frame("HR1", 0.65, (2048, 2048), 0.0)
            assert seen is not None
            places[truth is crooked, energy] = np.array([seen["column"], -seen["row"]]) * seen["pixel_nm"] * 1e-3
    moved = (places[True, 8.6] - places[False, 8.6]) - (places[True, 8.2] - places[False, 8.2])
    along = at(8.6).axes["ZPA:Z"] - at(8.2).axes["ZPA:Z"]
    # the picture of the origin moves against the lens, by 1 + 1 / M on the specimen's scale
    stretch = 1.0 + 1.0 / World(at(8.4), straight, specimen="none").magnification("HR1", 0.0)
    assert moved == pytest.approx(-np.array([0.2, -0.1]) * along * stretch, rel=0.02)


def test_a_film_of_an_oxide_gives_its_standard():
    energies_ev = np.array([8300.0, 8340.2, 8347.7, 8420.0])
    nickel = NICKEL[0]
    material = StatedMaterial("NiO", 6.67, (nickel,))
    for energy in energies_ev:
        sigma_ev = energy * World(at(1e-3 * energy), Truth.nominal(), specimen="none").beam_state(0.0).bandwidth
        away = np.linspace(-4.0, 4.0, 81)
        weight = np.exp(-0.5 * away**2)
        mu = material.photo_cm2_g(energy + SIGMA_PER_FWHM * sigma_ev * away) @ weight / weight.sum()
        assert depth("film-Ni2+", 1e-3 * energy) == pytest.approx(float(mu) * 6.67 * 3e-4, rel=5e-3)


def test_every_standard_has_a_film():
    for name, standard in STANDARDS.items():
        [(material, thickness)] = specimen(f"film-{name}").layers(Grid.centred((8, 8), 0.5), 0.0)
        assert isinstance(material, StatedMaterial)
        assert material.states == (standard,)
        assert standard.element in material.formula
        assert thickness == pytest.approx(3.0)
    with pytest.raises(UnknownSpecimenError, match=r"film-STATE with one of Ni2\+"):
        specimen("film-Ni7+")

"""The coupled world: flux from its parts, what moves it, and what the cameras see."""

import math
import threading

import numpy as np
import pytest
from scipy import constants, ndimage

from exitwave.simulators.bl18b.camera import CameraRequestError
from exitwave.simulators.bl18b.rest import GAIN, Rest
from exitwave.simulators.bl18b.truth import EncoderError, Truth
from exitwave.simulators.bl18b.world import UnknownPartError, World
from exitwave.simulators.physics.bodies import sphere
from exitwave.simulators.physics.materials import GOLD
from exitwave.simulators.physics.specimen import BodySpecimen

MIDDLE = (slice(896, 1152), slice(896, 1152))


def world(rest=None, truth=None, **more):
    return World(rest or Rest(), truth or Truth.nominal(), **more)


def shoot(w, *, camera="HR1", t=0.0, exposure_s=1.0, roi=MIDDLE, binning=(1, 1)):
    return w.camera(camera).expose(t, exposure_s, roi=roi, binning=binning, gain=GAIN)


def two_balls():
    return BodySpecimen("two", ((sphere((-0.7, 0.2, 0), 0.25), GOLD), (sphere((0.6, -0.3, 0), 0.25), GOLD)))


def centroids(frame, dark=100.0):
    """Centres (row, column) of dark spots, left to right."""
    image = ndimage.gaussian_filter(frame.astype(float) - dark, 3.0)
    image /= ndimage.gaussian_filter(image, 60.0)
    mask = image < 0.93
    labels, n = ndimage.label(mask)
    sizes = ndimage.sum_labels(mask, labels, range(1, n + 1))
    big = [i + 1 for i in np.argsort(sizes)[-2:]]
    found = ndimage.center_of_mass(np.maximum(1.0 - image, 0.0) * mask, labels, big)
    return sorted(found, key=lambda place: place[1])


# -- beam ----------------------------------------------------------------------------------------------------------


def test_flux_at_the_sample_is_the_design_value():
    assert world().flux_at_sample(0.0) == pytest.approx(1.3e10, rel=0.01)


def test_energy_follows_the_crystal_and_its_hidden_offset():
    assert world().energy_kev(0.0) == pytest.approx(8.0)
    truth = Truth(bragg_offset_deg=0.01)
    theta = math.asin(1.2398419843 / (2.0 * 0.543102 / math.sqrt(3.0) * 8.0)) + math.radians(0.01)
    assert world(truth=truth).energy_kev(0.0) == pytest.approx(
        1.2398419843 / (2.0 * 0.543102 / math.sqrt(3.0) * math.sin(theta)), rel=1e-6
    )


@pytest.mark.parametrize(
    ("axis", "away"),
    [
        ("DCM:Pitch", 15.0),
        ("DCM:Roll", 20.0),
        ("DCM:Gap", 13.4),
        ("TM:Pitch", 4.42),
        ("SSA:XP", 20.0),
        ("COND:Pitch", 150.0),
        ("COND:Yaw", -150.0),
        ("COND:X", 300.0),
        ("PIN:X", 60.0),
        ("BS:X", 300.0),
    ],
)
def test_misalignment_costs_flux(axis, away):
    rest = Rest()
    best = world(rest).flux_at_sample(0.0)
    rest.axes[axis] = away
    assert world(rest).flux_at_sample(0.0) < 0.97 * best


@pytest.mark.parametrize("shutter", ["FES", "PSH", "FSH"])
def test_each_shutter_stops_the_light(shutter):
    rest = Rest()
    rest.switches[shutter] = False
    w = world(rest, specimen="none")
    assert w.flux_at_sample(0.0) == 0.0
    assert shoot(w).mean() == pytest.approx(100.0, abs=1.0)
    chamber = w.ion_chamber_current_a(1, 0.0, 1.0)
    assert (chamber > 1e-9) == (shutter == "FSH")  # the chambers stand before the fast shutter


def test_rocking_curve_peaks_at_the_hidden_pitch():
    rest = Rest()
    w = world(rest, Truth(pitch_optimum_urad=6.0))
    pitch = np.linspace(-20.0, 32.0, 53)
    flux = []
    for value in pitch:
        rest.axes["DCM:Pitch"] = float(value)
        flux.append(w.flux_at_sample(0.0))
    fit = np.polyfit(pitch[20:33], flux[20:33], 2)
    assert -fit[1] / (2.0 * fit[0]) == pytest.approx(6.0, abs=1.0)


def test_heat_moves_the_pitch_slowly():
    rest = Rest()
    w = world(rest, Truth(heat_pitch_urad=8.0, heat_time_constant_s=200.0))
    warm = w.pitch_optimum_urad(0.0)
    assert warm == pytest.approx(8.0, rel=0.01)
    rest.switches["FES"] = False
    assert w.pitch_optimum_urad(200.0) == pytest.approx(8.0 / math.e, rel=0.02)
    assert w.pitch_optimum_urad(2000.0) == pytest.approx(0.0, abs=0.01)


def test_ion_chamber_counts_photons_with_shot_noise():
    w = world()
    current = w.ion_chamber_current_a(1, 0.0, 1.0)
    state = w.beam_state(0.5)
    # photons absorbed x ion pairs each x e; from the state's flux, by hand
    fraction = 0.0085  # of 8 keV photons in 10 mm of nitrogen
    assert current == pytest.approx(state.chamber_flux[0][0] * fraction * 8000.0 / 34.8 * constants.e, rel=0.05)
    many = np.array([w.ion_chamber_current_a(1, 0.0, 1e-6) for _ in range(400)])
    photons = state.chamber_flux[0][0] * fraction * 1e-6
    assert many.std() / many.mean() == pytest.approx(photons**-0.5, rel=0.15)
    with pytest.raises(UnknownPartError):
        w.ion_chamber_current_a(3, 0.0, 1.0)


def test_foil_edge_appears_between_the_chambers():
    ratios = []
    for energy in (8.32, 8.345):
        rest = Rest(energy)
        rest.switches["FOIL"] = "Ni"
        w = world(rest)
        ratios.append(w.ion_chamber_current_a(2, 0.0, 1.0) / w.ion_chamber_current_a(1, 0.0, 1.0))
    assert ratios[1] < 0.5 * ratios[0]


def test_dump_and_refill():
    w = world()
    w.dump(10.0)
    assert w.ring_current_ma(11.0) == 0.0
    assert not w.beam_available(11.0)
    assert w.flux_at_sample(11.0) == 0.0
    w.refill(20.0)
    assert w.beam_available(21.0)


# -- images --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("optics", "plate"), [("transfer", "A"), ("coherent-sum", "A"), ("transfer", "B")])
def test_magnification_is_what_the_distances_make_it(optics, plate):
    rest = Rest()
    if plate == "B":
        rest.axes.update({"ZPA:X": 4000.0, "ZPB:X": 0.0})
    w = world(rest, specimen=two_balls(), optics=optics)
    left, right = centroids(shoot(w, exposure_s=20.0))
    pixels = math.hypot(right[0] - left[0], right[1] - left[1])
    measured = pixels * 0.65 / math.hypot(1.3, 0.5)
    lens = rest.axes[f"ZP{plate}:Z"]
    assert measured == pytest.approx((1300.0 - lens) / lens, rel=0.01)
    assert left[0] < right[0]  # the left ball is the upper one: rows run down, y runs up


@pytest.mark.parametrize("optics", ["transfer", "coherent-sum"])
def test_coarse_pixels_show_the_same_places(optics):
    # refined and binned again: a spot's centre of mass must not move with the objective
    ball = BodySpecimen("one", ((sphere((0.4, -0.3, 0), 0.25), GOLD),))
    for name, zoom, size in (("10x", 10.0, 256), ("4x", 4.0, 104)):
        rest = Rest()
        rest.switches["DET:Objective"] = name
        w = world(rest, specimen=ball, optics=optics)
        roi = (slice(1024 - size // 2, 1024 + size // 2),) * 2
        image = w.photons_per_s("HR1", roi, 0.0) / world(rest, specimen="none").photons_per_s("HR1", roi, 0.0)
        pitch = 6.5 / zoom / w.magnification("HR1", 0.0)
        x = (np.arange(size) - 0.5 * (size - 1)) * pitch
        near = np.hypot(x[None, :] - 0.4, -x[:, None] + 0.3) < 0.5
        dark = (1.0 - image) * near
        assert float((dark * x[None, :]).sum() / dark.sum()) == pytest.approx(0.4, abs=0.003)
        assert float((dark * -x[:, None]).sum() / dark.sum()) == pytest.approx(-0.3, abs=0.003)


def test_specimen_moves_with_its_stage_and_the_lens_shifts_the_image():
    rest = Rest(SAM_X=0.5, SAM_Y=0.25)
    w = world(rest, specimen=two_balls())
    pitch = 0.65 / w.magnification("HR1", 0.0)
    before = centroids(shoot(w, exposure_s=20.0))[0]
    rest.axes.update({"SAM:X": 0.3, "SAM:Y": 0.35})
    after = centroids(shoot(w, exposure_s=20.0))[0]
    assert after[1] - before[1] == pytest.approx(-0.2 / pitch, abs=0.7)
    assert after[0] - before[0] == pytest.approx(-0.1 / pitch, abs=0.7)
    rest.axes["ZPA:X"] = 0.2
    shifted = centroids(shoot(w, exposure_s=20.0))[0]
    assert shifted[1] - after[1] == pytest.approx(-0.2 / pitch, rel=0.05)


def test_defocus_follows_stage_and_lens():
    rest = Rest(SAM_Z=-5.0)
    w = world(rest)
    base = world().defocus_um("HR1", 0.0)
    assert w.defocus_um("HR1", 0.0) - base == pytest.approx(-5.0, rel=0.02)
    rest.axes["ZPA:Z"] -= 0.005
    assert w.defocus_um("HR1", 0.0) == pytest.approx(base, abs=0.2)


def test_photons_at_the_detector_follow_from_the_chain():
    w = world(specimen="none")
    state = w.beam_state(0.5)
    rms = state.illumination.spot_rms_um()
    pitch = 0.65 / w.magnification("HR1", 0.5)
    density = state.sample_flux / (2.0 * math.pi * rms[0] * rms[1])
    # 17 % in the zone plate's first order, 42 % absorbed in 8 um of LuAG, 1.57 electrons for each
    expected = density * pitch**2 * 0.17 * 0.42 * 1.57
    frame = shoot(w, roi=(slice(1000, 1048), slice(1000, 1048)))
    electrons = (float(frame.mean()) - 100.0) * 0.46
    assert electrons == pytest.approx(expected, rel=0.15)  # windows and the spot's edge are not in it


def test_flat_field_is_smooth_and_brightest_in_the_middle():
    frame = shoot(world(specimen="none"), roi=(slice(0, 2048), slice(0, 2048)), exposure_s=0.5, binning=(8, 8))
    image = ndimage.gaussian_filter(frame.astype(float), 3.0)
    row, col = np.unravel_index(np.argmax(image), image.shape)
    assert abs(row - 128) < 25
    assert abs(col - 128) < 25
    assert image.min() < 0.5 * image.max()


def test_region_and_binning_are_parts_of_the_full_frame():
    w = world(specimen="siemens-star")
    full = shoot(w, roi=(slice(0, 2048), slice(0, 2048)), exposure_s=10.0).astype(float)
    part = shoot(w, roi=(slice(1000, 1064), slice(900, 1028)), exposure_s=10.0, binning=(2, 4))
    assert part.shape == (32, 32)
    assert part.flags.c_contiguous
    block = full[1000:1064, 900:1028].reshape(32, 2, 32, 4).sum(axis=(1, 3))
    assert part.mean() == pytest.approx(block.mean(), rel=0.01)
    assert np.corrcoef(part.ravel(), block.ravel())[0, 1] > 0.9


def test_bad_requests_are_refused():
    w = world()
    with pytest.raises(CameraRequestError, match="does not fit"):
        shoot(w, roi=(slice(0, 3000), slice(0, 10)))
    with pytest.raises(CameraRequestError, match="below 1"):
        shoot(w, binning=(0, 1))
    with pytest.raises(CameraRequestError, match="gain"):
        w.camera("HR1").expose(0.0, 1.0, roi=MIDDLE, binning=(1, 1), gain="loud")
    with pytest.raises(UnknownPartError, match="HR1"):
        w.camera("HR9")


def test_medium_detector_sees_when_the_other_is_out():
    rest = Rest()
    w = world(rest, specimen="none")
    assert shoot(w, camera="MR1").mean() == pytest.approx(100.0, abs=1.0)
    rest.axes["DET:X"] = 150.0
    assert shoot(w, camera="MR1").mean() > 300.0
    assert shoot(w).mean() == pytest.approx(100.0, abs=1.0)


def test_without_a_lens_the_hollow_cone_misses_the_axis():
    w = world(Rest(ZPA_X=4000.0), specimen="none")
    assert math.isnan(w.magnification("HR1", 0.0))
    assert shoot(w).mean() == pytest.approx(100.0, abs=1.0)


def test_telescope_shows_the_holder_and_blocks_the_beam():
    rest = Rest(TEL_X=0.0)
    w = world(rest)
    kwargs = {"camera": "TEL1", "roi": (slice(0, 1024), slice(0, 1024)), "exposure_s": 0.02}
    centre = shoot(w, **kwargs)
    assert centre.dtype == np.uint8
    assert centre[800, 512] < 20 < 60 < centre[300, 512]
    rest.axes["SAM:X"] = 400.0
    assert shoot(w, **kwargs)[800, 712] < 20
    assert shoot(w).mean() == pytest.approx(100.0, abs=1.0)
    rest.axes["TEL:X"] = 80.0
    assert shoot(w, **kwargs).max() < 5


def test_memory_camera_gives_noisy_frames_without_copying():
    camera = world(specimen="memory").camera("HR1")
    whole = (slice(0, 2048), slice(0, 2048))
    frames = [camera.expose(0.0, 1.0, roi=whole, binning=(1, 1), gain=GAIN) for _ in range(5)]
    assert frames[0] is not frames[1]
    assert np.shares_memory(frames[0], frames[4])
    assert frames[0].std() == pytest.approx(math.sqrt(800.0), rel=0.02)


def test_two_cameras_at_once_from_many_threads():
    rest = Rest()
    w = world(rest, Truth.draw(2))
    shapes = []

    def work(name):
        for n in range(3):
            frame = shoot(w, camera=name, t=float(n), roi=(slice(1000, 1064), slice(1000, 1064)))
            shapes.append(frame.shape)

    threads = [threading.Thread(target=work, args=(name,)) for name in ("HR1", "MR1", "HR1", "MR1")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60.0)
    assert shapes == [(64, 64)] * 12


# -- truth ---------------------------------------------------------------------------------------------------------


def test_truth_is_the_same_for_the_same_seed_and_survives_json(tmp_path):
    truth = Truth.draw(5)
    assert truth == Truth.draw(5)
    assert truth != Truth.draw(6)
    path = tmp_path / "truth.json"
    truth.to_json(path)
    assert Truth.from_json(path) == truth
    assert Truth.from_json(truth.to_json()) == truth
    with pytest.raises(ValueError, match="unknown keys"):
        Truth.from_json('{"bragg": 1}')


def test_drawn_instruments_give_light_before_any_alignment():
    for seed in range(6):
        assert world(truth=Truth.draw(seed)).flux_at_sample(0.0) > 1e9


def test_encoder_error_is_zero_where_none_is_drawn():
    truth = Truth(encoders={"SAM:X": EncoderError(scale=1e-3)})
    assert truth.encoder_error("SAM:X", 100.0) == pytest.approx(0.1)
    assert truth.encoder_error("SAM:Y", 100.0) == 0.0


def test_rotation_axis_offset_shows_as_a_shift():
    plain = centroids(shoot(world(specimen=two_balls()), exposure_s=20.0))[0]
    moved_world = world(truth=Truth(axis_offset_um=0.2), specimen=two_balls())
    moved = centroids(shoot(moved_world, exposure_s=20.0))[0]
    assert moved[1] - plain[1] == pytest.approx(0.2 * moved_world.magnification("HR1", 0.0) / 0.65, abs=0.7)


def test_specimen_out_is_an_even_field_and_quick_in_the_exact_mode():
    rest = Rest(SAM_X=100.0)
    roi = (slice(960, 1088), slice(960, 1088))
    out = world(rest, optics="coherent-sum").photons_per_s("HR1", roi, 0.0)
    empty = world(Rest(), specimen="none").photons_per_s("HR1", roi, 0.0)
    ratio = out / empty  # the star's membrane remains: 0.1 um of silicon nitride
    assert float(np.ptp(ratio)) < 1e-5
    assert 0.998 < float(ratio.mean()) < 1.0

"""The simulated microscope without its records: fields, modes, scans, doses, files."""

import dataclasses
import math
from typing import Any

import h5py
import numpy as np
import pytest
from scipy import constants as codata
from scipy.optimize import curve_fit

from exitwave.simulators.clock import SimClock
from exitwave.simulators.physics.eds_events import interpolate
from exitwave.simulators.physics.electron_bremsstrahlung import yield_pm2
from exitwave.simulators.physics.electron_crystals import Columns, crystal
from exitwave.simulators.physics.electron_probe import Probe
from exitwave.simulators.records.hdf_plugin import WriteFaults
from exitwave.simulators.stem.column import Column, Dose
from exitwave.simulators.stem.eds import Eds, RowRequest
from exitwave.simulators.stem.event_file import EventFile, Events, FrameEnd, Heading
from exitwave.simulators.stem.field import FieldRequest, build_field
from exitwave.simulators.stem.geometry import ScanPlan
from exitwave.simulators.stem.layout import INSTRUMENTS
from exitwave.simulators.stem.modes import MODES, Physics
from exitwave.simulators.stem.truth import StemTruth
from exitwave.simulators.stem.world import World

TITAN = INSTRUMENTS["titan-g2"]
PLAN = ScanPlan(3.0, 64, 64, (0, 0, 64, 64), 0.0, 1e-5, 1e-4, False, False, 4)
CELL_NM = 0.3905


class Still:
    """A microscope that stands still, with its beam on."""

    def __init__(self, **axes):
        self.axes = axes
        self.settings = {
            "HighVoltage": 200.0, "BeamCurrent": 100.0, "ConvergenceAngle": 25.0, "SourceSize": 35.18,
        }  # fmt: skip
        self.on = True

    def axis(self, name, t):
        return self.axes.get(name, 0.0)

    def setting(self, name, t):
        return self.settings.get(name, 0.0)

    def passes(self, t):
        return self.on


def world(physics=None, truth=None, specimen="SrTiO3", **axes):
    return World(Still(**axes), truth or StemTruth.nominal(), TITAN, specimen, physics or Physics())


def request(mode="first-principles", **changes):
    physics = Physics(mode, **{k: v for k, v in changes.items() if hasattr(Physics, k)})
    rest = {k: v for k, v in changes.items() if not hasattr(Physics, k)}
    values: dict[str, Any] = {
        "centre_nm": (0.0, 0.0), "half_nm": 0.6, "tilt_deg": (0.0, 0.0), "probe": Probe(200.0, 25.0, 35.18),
        "physics": physics, "segments": TITAN.segments, "rim_deg": 5.0, "holder_deg": (0.0, 0.0),
        "haadf_mrad": TITAN.haadf_mrad, "own_lines": TITAN.own_lines, "grid_lines": TITAN.grid_lines, "electrons": 1e7,
    }  # fmt: skip
    return FieldRequest(**(values | rest))


def profile(field, name, x_nm, y_nm, reach_nm=0.1, points=81):
    """Values of a component along x through a place; offsets in pm."""
    offset = np.linspace(-reach_nm, reach_nm, points)
    gx, gy = field.grid(x_nm + offset, np.full(points, y_nm))
    out, wx, wy = np.empty(field.maps.shape[2]), np.empty(4), np.empty(4)
    values = []
    for a, b in zip(gx, gy, strict=True):
        interpolate(field.maps, a, b, wx, wy, out)
        values.append(out[field.names.index(name)])
    return 1e3 * offset, np.array(values)


def gaussian(x, height, centre, fwhm, base):
    return base + height * np.exp(-4.0 * math.log(2.0) * (x - centre) ** 2 / fwhm**2)


def fitted(field, name, x_nm, y_nm):
    x, values = profile(field, name, x_nm, y_nm)
    scale = values.max()
    (height, centre, fwhm, base), _ = curve_fit(gaussian, x, values / scale, p0=(0.9, 1.0, 95.0, 0.1))
    return height * scale, centre, fwhm, base * scale


E1, E2 = "brems 3.53-4.29", "brems 5.24-6"
TIO = (CELL_NM / 2, CELL_NM / 2)


def apart():
    """Return one column of Sr at the origin and one of Ti/O far enough away for neither to see the other."""
    foil, places = crystal("SrTiO3"), {"Sr": 0.0, "Ti/O": 0.7}
    columns = []
    for whole in foil.columns[:3]:
        place = np.array([places[whole.kind.site]])
        one = (whole.bottom[:1], whole.top[:1], whole.atoms[:1], whole.share[:1])
        columns.append(Columns(whole.kind, place, np.zeros(1), *one))
    return dataclasses.replace(foil, columns=columns, period_nm=None)


APART = {"centre_nm": (0.35, 0.0), "half_nm": 0.8}


def test_phenomenological_widths_and_heights_are_those_put_in():
    field = build_field(request("phenomenological", **APART), apart())
    sr = [fitted(field, name, 0.0, 0.0) for name in (E1, E2)]
    ti = [fitted(field, name, 0.7, 0.0) for name in (E1, E2)]
    assert [one[2] for one in (*sr, *ti)] == pytest.approx([123.5, 116.0, 107.5, 100.0], abs=0.02)
    assert sr[0][0] / ti[0][0] == pytest.approx(1.38, rel=1e-3)
    assert sr[1][0] / ti[1][0] == pytest.approx(1.38, rel=1e-3)


def test_artefact_mode_has_one_spread_and_the_published_peaks():
    field = build_field(request("artefact", **APART), apart())
    for x_nm, site in ((0.0, (193.0, 174.0)), (0.7, (140.0, 131.0))):
        for name, counts in zip((E1, E2), site, strict=True):
            height, _, fwhm, base = fitted(field, name, x_nm, 0.0)
            assert fwhm == pytest.approx(100.0, abs=0.02)
            assert height * field.collected[field.names.index(name)] * 1e7 == pytest.approx(counts, rel=1e-3)
            assert base == pytest.approx(0.0, abs=1e-3 * height)


def test_what_is_put_in_comes_out_of_the_events():
    field = build_field(request("phenomenological", pedestal=0.0, **APART), apart())
    eds = Eds(TITAN.segments, StemTruth.nominal(), lambda: (0.0, 0.0), WriteFaults())
    eds.board.set("Acquire", 1)
    pitch_pm, rows, columns = 12.5, 40, 96
    x_nm, y_nm = (1e-3 * pitch_pm * (np.arange(n, dtype=np.float64) - 20.0) for n in (columns, rows))
    images = np.zeros((2, rows * columns))
    for row, y in enumerate(y_nm):
        gx, gy = field.grid(x_nm, np.full(columns, y))
        line = RowRequest(gx, gy, 1e10, float(row), 1e-3, False, row, row * columns)
        pixel, _, channel = eds.collect(
            eds.draw(field, line, np.empty(columns, np.float32), 0), live=False, shelf=0.0, elapsed_s=1.0
        )
        for image, (low, high) in zip(images, field.request.physics.windows_kev, strict=True):
            inside = (channel >= round(100 * low)) & (channel < round(100 * high))
            image += np.bincount(pixel[inside], minlength=rows * columns)
    x, y = np.meshgrid(1e3 * x_nm, 1e3 * y_nm)

    def width(image, x0):
        near = np.hypot(x - x0, y) < 200.0

        def model(place, height, fwhm):
            return height * np.exp(-4.0 * math.log(2.0) * ((place[0] - x0) ** 2 + place[1] ** 2) / fwhm**2)

        counts = image.reshape(rows, columns)[near]
        (_, fwhm), _ = curve_fit(model, (x[near], y[near]), counts, p0=(counts.max(), 110.0))
        return fwhm, fwhm / math.sqrt(counts.sum())  # least squares is a little worse than the bound

    found = {(w, x0): width(images[w], x0) for w in (0, 1) for x0 in (0.0, 700.0)}
    error = max(one[1] for one in found.values())
    assert error < 1.0
    for x0 in (0.0, 700.0):
        assert found[0, x0][0] - found[1, x0][0] == pytest.approx(7.5, abs=4.0 * error)
    for window in (0, 1):
        assert found[window, 0.0][0] - found[window, 700.0][0] == pytest.approx(16.0, abs=4.0 * error)


def test_the_recipe_makes_the_published_differences_of_the_artefact():
    # Half of the height above a fixed base of 90, of one and the same Gaussian: 3.8 pm between the windows.
    def read(peak):
        return 100.0 * math.sqrt(math.log(peak / (0.5 * (peak + 90.0))) / math.log(2.0))

    assert read(193.0) - read(174.0) == pytest.approx(3.8, abs=0.1)
    assert read(193.0) - read(140.0) == pytest.approx(13.6, abs=0.1)


def test_first_principles_widths_differ_by_hundredths_of_a_picometre():
    field = build_field(request(), crystal("NPG"))
    wide = {name: profile(field, name, 0.0, 0.0) for name in (E1, E2)}
    widths = [fitted(field, name, 0.0, 0.0)[2] for name in (E1, E2)]
    assert 0.005 < widths[0] - widths[1] < 0.1
    assert np.argmax(wide[E1][1]) == 40


def test_photons_per_electron_are_atoms_times_cross_section():
    field = build_field(request(half_nm=1.5), crystal("SrTiO3"))
    low, high = 3.53, 4.29
    atoms = {"Sr": 1, "Ti": 1, "O": 3}
    middle = round(math.sqrt(low * high), 4)
    per_cell = sum(n * yield_pm2(element, middle, 200.0) for element, n in atoms.items())
    expected = 77 * per_cell * math.log(high / low) / (1e3 * CELL_NM) ** 2
    # A whole number of cells: the middle of the map.
    x, values = np.linspace(-3.5 * CELL_NM, 3.5 * CELL_NM, 113)[:-1], []
    out, wx, wy = np.empty(field.maps.shape[2]), np.empty(4), np.empty(4)
    for a in x:
        for b in x[:32]:
            gx, gy = field.grid(np.array([a]), np.array([b]))
            interpolate(field.maps, gx[0], gy[0], wx, wy, out)
            values.append(out[field.names.index(E1)])
    assert np.mean(values) == pytest.approx(expected, rel=2e-3)


@pytest.mark.parametrize("mode", MODES)
def test_spurious_lines_and_pedestal_are_settings(mode):
    field = build_field(request(mode), crystal("SrTiO3"))
    constant = dict(zip(field.names, field.constant, strict=True))
    assert constant["Fe of the instrument"] > 0
    assert constant["Cu of the grid"] > 0
    assert (constant[E1] > 0) == (mode != "artefact")
    assert constant["brems 9-14"] > 0


def test_columns_lie_where_the_specimen_has_them():
    field = build_field(request(centre_nm=(0.17, -0.05)), crystal("SrTiO3"))
    for name, place in (("Sr L", (0.0, 0.0)), ("Ti K", TIO)):
        assert fitted(field, name, *place)[1] == pytest.approx(0.0, abs=0.05)


def test_a_tilted_column_is_smeared_along_the_tilt():
    straight = build_field(request(), crystal("SrTiO3"))
    tilted = build_field(request(tilt_deg=(0.0, 0.3)), crystal("SrTiO3"))
    # 30 nm x tan(0.3 deg) is 157 pm.
    assert profile(tilted, "Sr K", 0.0, 0.0)[1].max() < 0.6 * profile(straight, "Sr K", 0.0, 0.0)[1].max()


def test_a_perfect_scan_is_a_regular_grid():
    path = world().probe_path(PLAN, 10, 5.0, (0.1, -0.2), 0)
    assert np.diff(path.x_nm) == pytest.approx(np.full(63, 3.0 / 64))
    assert path.x_nm.mean() == pytest.approx(0.1)
    assert path.y_nm == pytest.approx(np.full(64, (10.5 - 32) * 3.0 / 64 - 0.2))


def test_drift_and_stage_move_the_specimen_under_the_scan():
    moved = world(truth=StemTruth(drift_nm_min=(6.0, 0.0)), **{"STG:Y": 0.001})
    still = world()
    after, before = moved.probe_path(PLAN, 0, 10.0, (0.0, 0.0), 0), still.probe_path(PLAN, 0, 0.0, (0.0, 0.0), 0)
    assert after.x_nm - before.x_nm == pytest.approx(np.full(64, -1.0))
    assert after.y_nm - before.y_nm == pytest.approx(np.full(64, -1.0))


def test_tilting_a_specimen_off_the_axis_moves_it_and_its_focus():
    high = world(truth=StemTruth(eucentric_um=(1.0, 0.0)), **{"STG:Alpha": 10.0})
    assert high.origin_nm(0.0)[1] == pytest.approx(-1000.0 * math.sin(math.radians(10.0)))
    assert high.probe(0.0).aberrations_nm["C10"] == pytest.approx(1000.0 * (math.cos(math.radians(10.0)) - 1.0))


def test_maps_serve_until_the_drift_is_too_far():
    drifting = world(truth=StemTruth(drift_nm_min=(60.0, 0.0)))
    first = drifting.field(PLAN, 0.0, (0.0, 0.0))
    assert drifting.field(PLAN, 0.1, (0.0, 0.0)) is first
    assert drifting.field(PLAN, 5.0, (0.0, 0.0)) is not first
    drifting.change(mode="artefact")
    assert drifting.field(PLAN, 5.0, (0.0, 0.0)).request.physics.mode == "artefact"


def test_a_stage_on_its_way_gets_new_maps():
    moving = world(truth=StemTruth(drift_nm_min=(60.0, 0.0)))
    field = moving.field(PLAN, 0.0, (0.0, 0.0))
    for at_s, covered in ((0.0, True), (5.0, False)):
        path = moving.probe_path(PLAN, 0, at_s, (0.0, 0.0), 0)
        assert field.covers(path.x_nm, path.y_nm) is covered


def test_windows_may_begin_close_to_a_bands_edge():
    physics = Physics(windows_kev=((2.004, 3.0), (2.5, 4.0)))
    field = build_field(request(physics=physics), crystal("Pt-particle"))
    assert "brems 2-2.004" in field.names
    assert np.all(np.isfinite(field.collected))


def test_serpentine_line_times_and_mains():
    snake = dataclasses.replace(PLAN, serpentine=True)
    assert snake.pixel_times_s(1)[0] > snake.pixel_times_s(1)[-1]
    assert dataclasses.replace(PLAN, mains=True).line_s == pytest.approx(0.02)
    assert PLAN.frame_s == pytest.approx(64 * (64e-5 + 1e-4))


def test_truth_survives_its_file(tmp_path):
    drawn = StemTruth.draw(9)
    drawn.to_json(tmp_path / "truth.json")
    assert StemTruth.from_json(tmp_path / "truth.json") == drawn
    assert drawn != StemTruth.draw(10)
    with pytest.raises(ValueError, match="colour"):
        StemTruth.from_json('{"colour": 1}')


class Hand(SimClock):
    """A clock moved by hand."""

    t = 0.0

    def now(self):
        return self.t


def test_dose_counts_electrons_and_the_hardware_limit_blanks_when_it_is_reached():
    clock = Hand()
    blanked: list[tuple[str, float]] = []
    rate = 100e-12 / codata.e
    dose = Dose(clock, lambda t: 0.0 if blanked else rate, lambda: 9.0, lambda why, t: blanked.append((why, t)))
    clock.t = 2.0
    dose.advance()
    assert dose.accumulated_e_a2 == pytest.approx(2.0 * rate / 900.0)
    dose.board.set("HardwareLimit", 3.5 * rate / 900.0)
    clock.t = 10.0
    dose.advance()
    assert blanked == [("hardware dose limit", pytest.approx(3.5))]
    assert dose.accumulated_e_a2 == pytest.approx(3.5 * rate / 900.0)


def test_the_beam_is_blanked_at_the_start_and_after_a_stop():
    clock = Hand()
    column = Column(TITAN, clock, lambda: None, 0)
    assert not column.passes(0.0)
    unblank = column.blanker.channels["Blank"].on_put
    assert unblank is not None
    unblank(0)
    clock.t = 1.0
    assert column.passes(1.0)
    column.blank("abort")
    clock.t = 2.0
    assert column.passes(0.5)
    assert not column.passes(2.0)


def test_settings_outside_their_limits_are_clipped_and_nonsense_is_not_taken():
    column = Column(TITAN, Hand(), lambda: None, 0)
    column.board.set("HighVoltage", 1000.0)
    assert column.board.value("HighVoltage_RBV") == 300.0
    column.board.set("HighVoltage", math.nan)
    assert column.board.value("HighVoltage_RBV") == 300.0


def test_the_event_file_can_be_read_while_it_grows(tmp_path):
    heading = Heading({"mode": "artefact"}, {"columns": 4}, {"channels": 2048}, {}, 2, (("Dose", "e/A2"),))
    file = EventFile(tmp_path / "e.h5", heading)
    events = Events(0, np.arange(5, dtype=np.uint32), np.zeros(5, np.uint8), np.array([1, 2, 3, 4, 2047], np.uint16))
    end = FrameEnd(1.0, 0.5, np.ones(2), np.array([3, 4]), np.array([2, 3]), {"Dose": 7.0})
    with h5py.File(tmp_path / "e.h5", "r", swmr=True) as reader:
        assert reader["entry"].attrs["mode"] == "artefact"
        for frame in range(2):
            file.append(dataclasses.replace(events, frame=frame))
            file.end_frame(end)
            file.flush()
            stop, channel = reader["entry/frames/event_stop"], reader["entry/events/channel"]
            stop.refresh()
            channel.refresh()
            assert list(stop) == [5, 10][: frame + 1]
            assert channel.shape == (5 * frame + 5,)
    file.close()
    with h5py.File(tmp_path / "e.h5") as reader:
        assert list(reader["entry/events/frame"]) == [0] * 5 + [1] * 5
        assert list(reader["entry/frames/Dose"]) == [7.0, 7.0]
        assert reader["entry/frames/output_counts"][1].tolist() == [2, 3]

"""Real spectra: SrTiO3 from four segments (Velox), FePt particles beside exspy."""

from __future__ import annotations

import importlib
import warnings
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest

from exitwave.analysis.eds import (
    EnergyWindow,
    Surroundings,
    asymmetry,
    cliff_lorimer,
    fit_spectrum,
    identify_elements,
    judge_window,
    propose_windows,
    remove_pile_up,
    spectra,
    window_maps,
)
from exitwave.analysis.errors import FileFormatError
from exitwave.analysis.io.eds_files import read_hspy_spectrum, read_velox

CANDIDATES = ("Al", "Si", "Ca", "Ti", "V", "Cr", "Mn", "Fe", "Co", "Ni", "Cu", "Zn", "Sr", "Zr", "Pt", "Au")


@pytest.fixture
def exspy() -> ModuleType:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        try:
            return importlib.import_module("exspy")
        except ImportError:
            pytest.skip("exspy is not installed: pip install exitwave[bench]")


@pytest.mark.realdata
def test_velox_streams_are_the_stored_spectra(eds_data: Path) -> None:
    path = eds_data / "EDS-STO.emd"
    measured = read_velox(path)
    counted = spectra(measured.events)
    assert [s.counts for s in measured.segments] == [34344, 8501, 70797, 77188]
    with h5py.File(path) as file:
        stored = {int(g["Data"][:, 0].sum()): g["Data"][:, 0] for g in file["Data/Spectrum"].values()}
    for spectrum in counted:
        np.testing.assert_array_equal(spectrum, stored[int(spectrum.sum())])
    np.testing.assert_array_equal(counted.sum(axis=0), stored[190830])
    assert measured.beam_kev == 200.0
    assert measured.events.axis.gain_kev == pytest.approx(0.005)
    assert [round(azimuth) for _, azimuth in measured.angles_deg] == [45, 135, 225, 315]


@pytest.mark.realdata
def test_dead_time_and_segment_asymmetry(eds_data: Path) -> None:
    segments = read_velox(eds_data / "EDS-STO.emd").segments
    # clocks and rates tell the same dead time, to within what a rate of a moment allows
    for segment in segments:
        assert segment.dead_share == pytest.approx(segment.dead_share_by_rates, abs=0.01)
        assert 1e-6 < segment.dead_time_s() < 5e-5
        print(
            f"{segment.name}: dead {100 * segment.dead_share:.2f} % by clocks, {100 * segment.dead_share_by_rates:.2f}"
            f" % by rates, {1e6 * segment.dead_time_s():.2f} us a pulse"
        )
    shares = list(asymmetry(list(segments)).values())
    print("segments over their mean:", ", ".join(f"{share:.3f}" for share in shares))
    # the second segment lies in the holder's shadow
    assert shares == pytest.approx([0.71, 0.17, 1.50, 1.61], abs=0.02)


@pytest.mark.realdata
def test_strontium_titanate_lines_and_windows(eds_data: Path) -> None:
    measured = read_velox(eds_data / "EDS-STO.emd")
    axis = measured.events.axis
    clean = [
        remove_pile_up(spectrum, axis, true_cps=s.true_cps, resolution_s=s.resolution_s)
        for spectrum, s in zip(spectra(measured.events), measured.segments, strict=True)
    ]
    total = np.maximum(np.sum(clean, axis=0), 0.0)
    fit = fit_spectrum(total, axis, ["Sr", "Ti", "Cu", "Si"], beam_kev=200.0, window=EnergyWindow(1.2, 19.0))
    assert fit.axis.gain_kev == pytest.approx(0.005, rel=0.005)
    assert 115 < fit.axis.resolution_ev < 145
    found = identify_elements(total, fit.axis, beam_kev=200.0, candidates=CANDIDATES, window=EnergyWindow(1.2, 19.0))
    assert {"Sr", "Ti", "Cu"} <= set(found)
    assert not {"V", "Cr", "Zn", "Zr", "Pt", "Au"} & set(found)
    # the fit's continuum and its own lines say the same of a window as the proposal did before there was a spectrum
    around = Surroundings({"Sr": 1.0, "Ti": 1.0, "O": 3.0}, 200.0, instrument=("Fe", "Co"))
    windows = propose_windows(around, fit.axis)
    for window in windows:
        start, stop = fit.axis.channels(window)
        counts = total[start:stop].sum()
        assert counts == pytest.approx(fit.model[start:stop].sum(), abs=5 * counts**0.5)
        lines = 1.0 - fit.continuum[start:stop].sum() / fit.model[start:stop].sum()
        assert lines < 0.03
        print(f"{window}: {counts:.0f} counts, {100 * lines:.2f} % of lines by the fit")
        assert judge_window(window, around, fit.axis).clean
    assert window_maps(measured.events, windows).sum() > 1000
    titanium = EnergyWindow(4.2, 4.9)
    start, stop = fit.axis.channels(titanium)
    measured_share = 1.0 - fit.continuum[start:stop].sum() / fit.model[start:stop].sum()
    assert judge_window(titanium, around, fit.axis).share == pytest.approx(measured_share, abs=0.1)


@pytest.mark.realdata
def test_iron_platinum_beside_exspy(eds_data: Path, exspy: ModuleType) -> None:
    path = eds_data / "EDS_TEM_FePt_nanoparticles.hspy"
    own = read_hspy_spectrum(path)
    assert own.elements == ("Fe", "Pt")
    window = EnergyWindow(1.2, 19.0)
    fit = fit_spectrum(own.counts, own.axis, ["Fe", "Pt", "Cu", "Co", "Si"], beam_kev=own.beam_kev, window=window)
    found = identify_elements(own.counts, fit.axis, beam_kev=own.beam_kev, candidates=CANDIDATES, window=window)
    assert {"Fe", "Pt", "Cu"} <= set(found)
    assert not {"V", "Zn", "Sr", "Zr"} & set(found)

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        signal = importlib.import_module("hyperspy.api").load(str(path))
        signal.set_lines(["Fe_Ka", "Pt_La"])
        sides = signal.estimate_background_windows(line_width=[5.0, 2.0])
        intensities = signal.get_lines_intensity(background_windows=sides)
        factors = [1.450226, 5.075602]  # of exspy's own example
        theirs = {
            s.metadata.Sample.elements[0]: float(s.data.ravel()[0])
            for s in signal.quantification(intensities, "CL", factors)
        }
        theirs_counts = [float(s.data.ravel()[0]) for s in intensities]
    # the families hold all lines; exspy's window is two FWHM wide, 98.2 % of the alpha lines
    shares = []
    for name, line in (("Fe_K", "Ka"), ("Pt_L", "La")):
        family = next(f for f in fit.families if f.name == name)
        shares.append(sum(x.weight for x in family.lines if line in x.name))
    alpha = [fit.of("Fe_K")[0] * shares[0], fit.of("Pt_L")[0] * shares[1]]
    assert theirs_counts[0] / alpha[0] == pytest.approx(0.982, abs=0.08)
    assert theirs_counts[1] / alpha[1] == pytest.approx(0.982, abs=0.08)
    ours = cliff_lorimer({"Fe": alpha[0], "Pt": alpha[1]}, dict(zip(("Fe", "Pt"), factors, strict=True)))
    assert 100 * float(ours.atoms["Fe"]) == pytest.approx(theirs["Fe"], abs=4.0)
    print(
        f"Fe K alpha and Pt L alpha: {alpha[0]:.0f} and {alpha[1]:.0f} counts, exspy {theirs_counts[0]:.0f} and "
        f"{theirs_counts[1]:.0f}; Fe {100 * float(ours.atoms['Fe']):.1f} atom %, exspy {theirs['Fe']:.1f}"
    )
    same = cliff_lorimer(
        {"Fe": theirs_counts[0], "Pt": theirs_counts[1]}, dict(zip(("Fe", "Pt"), factors, strict=True))
    )
    assert 100 * float(same.atoms["Fe"]) == pytest.approx(theirs["Fe"], rel=1e-6)


def test_files_that_are_something_else(tmp_path: Path) -> None:
    (tmp_path / "a.emd").write_text("no")
    with pytest.raises(FileFormatError, match="not an HDF5 file"):
        read_velox(tmp_path / "a.emd")
    with h5py.File(tmp_path / "b.emd", "w") as file:
        file["x"] = 1
    with pytest.raises(FileFormatError, match="SpectrumStream"):
        read_velox(tmp_path / "b.emd")
    with pytest.raises(FileFormatError, match="energy axis"):
        read_hspy_spectrum(tmp_path / "b.emd")

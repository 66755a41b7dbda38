"""File formats: exact round trips, honest refusals, real files."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exitwave.analysis.errors import FileFormatError, ShapeError
from exitwave.analysis.io import (
    ColumnTable,
    Frames,
    Series,
    open_data_exchange,
    open_nxtomo,
    open_series,
    open_xradia,
    read_columns,
    write_athena,
    write_data_exchange,
    write_nxtomo,
    write_xdi,
)
from exitwave.analysis.io.hdf5 import frames_of
from exitwave.analysis.tomography.attenuation import line_integrals

FORMATS = [(write_nxtomo, open_nxtomo), (write_data_exchange, open_data_exchange)]


@pytest.fixture
def series(rng: np.random.Generator) -> Series:
    def stack(n: int) -> Frames:
        return Frames.of_array(rng.integers(0, 65536, (n, 12, 10)).astype(np.uint16))

    return Series(
        frames=stack(7),
        flats=stack(3),
        darks=stack(2),
        angles_deg=np.linspace(-70, 70, 7) + 1e-7 / 3,
        energy_kev=8.333,
        pixel_nm=10.0 / 3.0,
        exposure_s=0.1,
        title="NCM622, cycled",
    )


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_round_trip_is_exact(tmp_path: Path, series: Series, write, read) -> None:
    write(tmp_path / "a.h5", series)
    for opener in (read, open_series):
        with opener(tmp_path / "a.h5") as back:
            for name in ("frames", "flats", "darks"):
                ours, theirs = getattr(series, name), getattr(back, name)
                assert theirs.dtype == ours.dtype
                np.testing.assert_array_equal(theirs[:], ours[:])
            np.testing.assert_array_equal(back.angles_deg, series.angles_deg)
            assert (back.energy_kev, back.pixel_nm, back.exposure_s) == (8.333, 10.0 / 3.0, 0.1)
            assert back.title == series.title
            assert back.nearest(25.0) == 4
    assert [p.name for p in tmp_path.iterdir()] == ["a.h5"]  # nothing half written is left


@pytest.mark.parametrize(("write", "read"), FORMATS)
def test_sparse_series(tmp_path: Path, write, read) -> None:
    bare = Series(frames=Frames.of_array(np.arange(24, dtype=np.float32).reshape(2, 3, 4)))
    write(tmp_path / "b.h5", bare)
    with read(tmp_path / "b.h5") as back:
        np.testing.assert_array_equal(back.frames[:], bare.frames[:])
        assert back.flats is None
        assert back.darks is None
        assert back.angles_deg is None
        assert back.energy_kev is None
        with pytest.raises(FileFormatError, match="no angles"):
            back.nearest(0.0)


def test_frames_are_lazy(tmp_path: Path, series: Series) -> None:
    write_nxtomo(tmp_path / "c.nxs", series)
    with open_nxtomo(tmp_path / "c.nxs") as back:
        assert back.frames.shape == (7, 12, 10)
        np.testing.assert_array_equal(back.frames[-1], series.frames[6])
        np.testing.assert_array_equal(back.frames[2:5], series.frames[2:5])
        assert len(list(back.frames)) == 7
    with pytest.raises(FileFormatError, match="closed"):
        back.frames[0]


def test_nxtomo_leaves_out_invalid_frames(tmp_path: Path, series: Series) -> None:
    write_nxtomo(tmp_path / "d.nxs", series)
    with h5py.File(tmp_path / "d.nxs", "a") as file:
        file["entry/instrument/detector/image_key"][7] = 3
        assert file["entry/definition"][()] == b"NXtomo"
        assert file["entry/data/data"].chunks == (1, 12, 10)
    with open_nxtomo(tmp_path / "d.nxs") as back:
        assert len(back.frames) == 6
        assert back.angles_deg is not None
        assert len(back.angles_deg) == 6


def test_units_are_converted(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "e.h5", "w") as file:
        file["exchange/data"] = np.zeros((2, 3, 4), np.uint16)
        file["exchange/theta"] = [0.0, np.pi]
        file["exchange/theta"].attrs["units"] = "radians"
        file["measurement/instrument/monochromator/energy"] = 8333.0
        file["measurement/instrument/monochromator/energy"].attrs["units"] = "eV"
    with open_data_exchange(tmp_path / "e.h5") as back:
        assert back.angles_deg is not None
        np.testing.assert_allclose(back.angles_deg, [0.0, 180.0])
        assert back.energy_kev == pytest.approx(8.333)
    with h5py.File(tmp_path / "e.h5", "a") as file:
        file["measurement/instrument/monochromator/energy"].attrs["units"] = "furlong"
    with pytest.raises(FileFormatError, match="furlong"):
        open_data_exchange(tmp_path / "e.h5")


def test_wrong_files_are_refused(tmp_path: Path, series: Series) -> None:
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "empty.h5", "w"):
        pass
    for opener in (open_series, open_nxtomo, open_data_exchange, open_xradia):
        with pytest.raises(FileFormatError):
            opener(tmp_path / "text.h5")
        with pytest.raises(FileNotFoundError):
            opener(tmp_path / "absent.h5")
    for opener in (open_series, open_nxtomo, open_data_exchange):
        with pytest.raises(FileFormatError):
            opener(tmp_path / "empty.h5")
    write_data_exchange(tmp_path / "bad.h5", series)
    with h5py.File(tmp_path / "bad.h5", "a") as file:
        del file["exchange/theta"]
        file["exchange/theta"] = [0.0]
    with pytest.raises(FileFormatError, match="1 angles for 7"):
        open_series(tmp_path / "bad.h5")
    with pytest.raises(ShapeError):
        Frames.of_array(np.zeros((3, 4)))


def test_mixed_frames_are_not_written(tmp_path: Path, series: Series) -> None:
    other = Series(frames=series.frames, flats=Frames.of_array(np.zeros((1, 5, 5), np.uint16)))
    with pytest.raises(FileFormatError, match="cannot share"):
        write_nxtomo(tmp_path / "f.nxs", other)
    assert not list(tmp_path.iterdir())


finite = st.floats(allow_nan=False, allow_infinity=False, width=64)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(finite, finite), min_size=1, max_size=20))
def test_columns_come_back_bit_for_bit(tmp_path_factory: pytest.TempPathFactory, rows: list) -> None:
    folder = tmp_path_factory.mktemp("columns")
    metadata = {"Element.symbol": "Ni", "Element.edge": "K", "Mono.d_spacing": "3.13560"}
    table = ColumnTable(("energy", "mu"), np.array(rows), ("eV", ""), metadata, ("a particle",))
    for write in (write_xdi, write_athena):
        write(folder / "a.xdi", table)
        back = read_columns(folder / "a.xdi")
        np.testing.assert_array_equal(back.values, table.values)
        assert back.names == table.names
        assert back.metadata == metadata
        assert "a particle" in back.comments
    with pytest.raises(FileFormatError, match=r"mono\.d_spacing"):
        write_xdi(folder / "b.xdi", ColumnTable(("energy", "mu"), np.array(rows)))


def test_columns_refuse_what_is_none(tmp_path: Path) -> None:
    for content, message in (("# only\n", "no rows"), ("1 2\n3\n", "line 2 has 1"), ("1 2\na b\n", "line 2 is not")):
        (tmp_path / "x.txt").write_text(content)
        with pytest.raises(FileFormatError, match=message):
            read_columns(tmp_path / "x.txt")
    (tmp_path / "x.txt").write_text("1 2\n3 4\n")
    table = read_columns(tmp_path / "x.txt")
    assert table.names == ("col1", "col2")
    with pytest.raises(FileFormatError, match="there are col1, col2"):
        table.column("energy")


@pytest.mark.realdata
def test_real_data_exchange(realdata: Path) -> None:
    with open_series(realdata / "tomography" / "tooth.h5") as tooth:
        assert tooth.frames.shape == (181, 2, 640)
        assert tooth.flats is not None
        assert tooth.darks is not None
        assert (len(tooth.flats), len(tooth.darks)) == (10, 10)
        assert tooth.angles_deg is not None
        assert tooth.angles_deg[-1] == pytest.approx(180.0, abs=1.1)
        with h5py.File(realdata / "tomography" / "tooth.h5") as file:
            np.testing.assert_array_equal(tooth.frames[100], file["exchange/data"][100])


@pytest.mark.realdata
def test_real_xradia(realdata: Path) -> None:
    with open_series(realdata / "txm-xradia" / "txrm_test_chip_tomo.txrm") as chip:
        assert chip.frames.shape == (7, 256, 256)
        assert chip.frames.dtype == np.uint16
        assert chip.angles_deg is not None
        np.testing.assert_allclose(chip.angles_deg, np.arange(-45, 46, 15), atol=0.05)
        assert chip.energy_kev == pytest.approx(9.2, abs=1e-3)
        assert chip.pixel_nm == pytest.approx(155.8, abs=0.05)
        assert chip.exposure_s == 5.0
        assert chip.flats is None
        assert chip.extra["xray_magnification"] == 38.0
        assert chip.frames[3].mean() > 10
        assert chip.frames[0].flags.writeable
        assert not np.array_equal(chip.frames[0], chip.frames[6])


@pytest.mark.realdata
@pytest.mark.parametrize("name", ["Ni_metal_rt_01.xdi", "ni_metal_rt_larch.xdi", "Fe2O3_rt_01.xdi"])
def test_real_xdi(realdata: Path, name: str) -> None:
    table = read_columns(realdata / "xas" / name)
    assert table.names[0] == "energy"
    assert table.units[0] == "eV"
    assert table.metadata["Element.edge"] == "K"
    assert np.all(np.diff(table.column("energy")) > 0)
    np.testing.assert_array_equal(table.values, np.loadtxt(realdata / "xas" / name))


@pytest.mark.realdata
def test_real_plain_columns(realdata: Path) -> None:
    table = read_columns(realdata / "xas" / "ref_NiO.txt")
    np.testing.assert_array_equal(table.values, np.loadtxt(realdata / "xas" / "ref_NiO.txt"))


@pytest.mark.parametrize("part", [0.001, 0.5, 0.999])
def test_a_file_that_was_cut_off_is_named_in_one_line(tmp_path: Path, part: float) -> None:
    whole = tmp_path / "whole.nxs"
    frames = Frames.of_array(np.arange(7 * 32 * 48, dtype=np.uint16).reshape(7, 32, 48))
    write_nxtomo(whole, Series(frames, frames, frames, np.arange(7.0)))
    content = whole.read_bytes()
    cut = tmp_path / "cut.nxs"
    cut.write_bytes(content[: int(part * len(content))])
    with pytest.raises(FileFormatError, match=r"^cut\.nxs: cannot be read as HDF5: .*truncated") as caught:
        open_series(cut)
    assert "\n" not in str(caught.value)


def test_a_damaged_frame_is_named(tmp_path: Path) -> None:
    path = tmp_path / "damaged.h5"
    with h5py.File(path, "w") as file:
        data = file.create_dataset("f", (3, 8, 8), np.uint16, chunks=(1, 8, 8), compression="gzip")
        data[...] = np.arange(192).reshape(3, 8, 8)
        place = data.id.get_chunk_info(1).byte_offset
    content = bytearray(path.read_bytes())
    content[place : place + 8] = b"\xff" * 8
    path.write_bytes(content)
    with h5py.File(path) as file:
        frames = frames_of(file["f"])
        assert frames[0].max() == 63
        with pytest.raises(FileFormatError, match="frame 1 of /f cannot be read"):
            frames[1]


def test_a_tomogram_without_flats_is_refused_by_name(tmp_path: Path) -> None:
    path = tmp_path / "bare.nxs"
    frames = Frames.of_array(np.full((5, 32, 48), 900, np.uint16))
    write_nxtomo(path, Series(frames, None, frames, np.arange(5.0)))
    with open_series(path) as series, pytest.raises(FileFormatError, match=r"^tomogram: no flats; .*resume") as caught:
        line_integrals(series.frames, series.flats, series.darks)
    assert "\n" not in str(caught.value)

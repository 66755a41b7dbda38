"""From specimen to scintillator: distances, lens, illumination field, and the noiseless image on the sensor's pixels.

Nothing is looked up: the object distance is that between the true places of specimen and zone plate, the image
distance that to the scintillator; magnification and defocus follow.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable
from threading import Lock
from typing import Generic, Literal, TypeVar

import numpy as np
import numpy.typing as npt
from scipy import fft as scipy_fft

from exitwave.simulators.bl18b.beampath import PINHOLE_BEFORE_SAMPLE_MM, BeamPath, BeamState, Inputs
from exitwave.simulators.bl18b.field import illumination_field
from exitwave.simulators.bl18b.mechanics import Mechanics, SampleState
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics import condenser, imaging
from exitwave.simulators.physics.materials import KAPTON, Material
from exitwave.simulators.physics.specimen import Grid, Specimen, exit_wave

Image = npt.NDArray[np.float32]
Optics = Literal["transfer", "coherent-sum"]
Responses = tuple[imaging.Field, imaging.Field | None, imaging.Transfer]
T = TypeVar("T")

RINGS, SPOKES = 6, 72
COHERENT_RINGS, COHERENT_SPOKES = 3, 20
MARGIN_PX = 24
TILE_PX = 2304


class Cache(Generic[T]):
    """A few results by key, the least used forgotten; one maker at a time."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._items: OrderedDict[Hashable, T] = OrderedDict()
        self._lock = Lock()

    def get(self, key: Hashable, make: Callable[[], T]) -> T:
        """Return what is stored under ``key``, making it first if need be."""
        with self._lock:
            if key not in self._items:
                self._items[key] = make()
                while len(self._items) > self._size:
                    self._items.popitem(last=False)
            self._items.move_to_end(key)
            return self._items[key]


class Microscope:
    """Image formation for the X-ray cameras; thread-safe.

    Parameters
    ----------
    inputs, truth, path
        Positions, hidden errors and the beam.
    specimen
        What stands on the stage.
    optics
        ``transfer`` (fast) or ``coherent-sum`` (exact for thin specimens); may be changed at any time.
    """

    def __init__(
        self, inputs: Inputs, truth: Truth, path: BeamPath, specimen: Specimen, optics: Optics = "transfer"
    ) -> None:
        self.mechanics = Mechanics(inputs, truth, path, specimen.reach_um)
        self._truth = truth
        self._path = path
        self._specimen = specimen
        self.optics: Optics = optics
        self._transfers: Cache[imaging.Transfer] = Cache(8)
        self._responses: Cache[Responses] = Cache(4)
        self._layers: Cache[list[tuple[Material, Image]]] = Cache(2)
        self._relative: Cache[Image] = Cache(4)
        self._fields: Cache[Image] = Cache(4)
        self._images: Cache[tuple[Image, Image, Image]] = Cache(4)

    # -- light ----------------------------------------------------------------------------------------------------

    def photons_per_pixel(
        self,
        camera: str,
        pixel_um: float,
        sensor: tuple[int, int],
        roi: tuple[slice, slice],
        border: int,
        t: float,
        frame_s: float | None = None,
    ) -> tuple[Image, float]:
        """Photons per pixel and second at the scintillator, without noise.

        Parameters
        ----------
        camera
            ``HR1`` or ``MR1``.
        pixel_um
            Pixel at the scintillator.
        sensor
            Rows and columns of the sensor.
        roi
            Rows and columns to compute.
        border
            Pixels to add on every side (for the detector's point spread).
        t
            Simulated time (s).
        frame_s
            Middle of the frame that this is a part of; ``t`` if left out.

        Returns
        -------
        relative, scale
            float32 image and the number to multiply it by: photons per pixel and second. The image is remembered
            while the instrument stands still, and must not be changed.
        """
        beam = self._path.state(t)
        detector_mm = self.mechanics.detector_mm(camera, t)
        lens = self.mechanics.lens(detector_mm, beam.energy_kev, beam.bandwidth, t)
        air = KAPTON.transmission(100.0, beam.energy_kev)  # vacuum tube's windows
        shape = (roi[0].stop - roi[0].start + 2 * border, roi[1].stop - roi[1].start + 2 * border)
        if lens is None:
            image = self._shadow(pixel_um, sensor, roi, border, detector_mm, beam)
            return image, beam.sample_flux * air
        magnification = lens.geometry.magnification
        pitch = pixel_um / magnification
        # upright read-out: a point x of the object appears at u = M (x - x_lens (1 + 1/M))
        x = lens.centre_um[0] * (1.0 + 1.0 / magnification)
        y = lens.centre_um[1] * (1.0 + 1.0 / magnification)
        full = Grid.centred(sensor, pitch, x, y)
        grid = Grid(
            full.left_um + (roi[1].start - border) * pitch, full.top_um - (roi[0].start - border) * pitch, pitch, shape
        )
        source = beam.illumination.source_points(RINGS, SPOKES)
        transfer = self._transfer(lens.pupil, beam, source)
        relative = self._relative_image(grid, lens.pupil, source, transfer, beam, self.mechanics.sample(t, frame_s))
        field = self._field(grid, beam, t)
        key = (id(relative), id(field))
        image, _, _ = self._images.get(key, lambda: (relative * field, relative, field))
        scale = beam.sample_flux * pitch**2 * lens.plate.efficiency(beam.energy_kev) * transfer.throughput * air
        if beam.direct_per_um2 > 0.0 and scale > 0.0:
            image = image + np.float32(beam.direct_per_um2 * pixel_um**2 / scale)
        return image, scale

    def truth_of_frame(
        self, camera: str, pixel_um: float, sensor: tuple[int, int], t: float
    ) -> dict[str, float] | None:
        """Return what a client has to find out: where on the sensor the specimen's origin is seen, scale and defocus.

        ``column`` and ``row`` count whole pixels of the sensor from the middle of the first; None without a lens.
        """
        beam = self._path.state(t)
        lens = self.mechanics.lens(self.mechanics.detector_mm(camera, t), beam.energy_kev, beam.bandwidth, t)
        if lens is None:
            return None
        place = self.mechanics.sample(t)
        magnification = lens.geometry.magnification
        pitch = pixel_um / magnification
        x, y = (centre * (1.0 + 1.0 / magnification) for centre in lens.centre_um)
        full = Grid.centred(sensor, pitch, x, y)
        return {
            "energy_kev": beam.energy_kev,
            "bandwidth": beam.bandwidth,
            "pixel_nm": 1e3 * pitch,
            "defocus_um": lens.pupil.defocus_um,
            "column": (place.x_um - full.left_um) / pitch,
            "row": (full.top_um - place.y_um) / pitch,
            "theta_deg": place.theta_deg,
            "tilt_deg": -math.degrees(place.lean),  # columns towards which the axis leans per row, downwards
        }

    def _transfer(self, pupil: imaging.Pupil, beam: BeamState, source: imaging.Source) -> imaging.Transfer:
        key = (_pupil_key(pupil), _source_key(beam.illumination))
        return self._transfers.get(key, lambda: imaging.transfer_functions(pupil, source))

    def _relative_image(
        self,
        grid: Grid,
        pupil: imaging.Pupil,
        source: imaging.Source,
        transfer: imaging.Transfer,
        beam: BeamState,
        sample: SampleState,
    ) -> Image:
        """Image of the specimen relative to the empty field (remembered while nothing moves)."""
        step = 0.1 * grid.pitch_um  # below that no motion is worth a new image
        key = (
            *(round(v / step) for v in (grid.left_um, grid.top_um, sample.x_um, sample.y_um)),
            round(grid.pitch_um * 1e6), grid.shape, round(sample.theta_deg, 5), round(beam.energy_kev, 5),
            _pupil_key(pupil), _source_key(beam.illumination), transfer.throughput, self.optics,
        )  # fmt: skip
        return self._relative.get(key, lambda: self._compute_relative(grid, pupil, source, transfer, beam, sample))

    def _compute_relative(
        self,
        grid: Grid,
        pupil: imaging.Pupil,
        source: imaging.Source,
        transfer: imaging.Transfer,
        beam: BeamState,
        sample: SampleState,
    ) -> Image:
        blur = imaging.blur_radius_um(pupil, source)
        margin = MARGIN_PX + min(int(blur / grid.pitch_um), 256)
        outlook = _widen(grid, margin, 1)
        absorption, phase = self._wave(outlook, sample, beam)
        if float(np.ptp(phase)) == 0.0 and float(np.ptp(absorption)) == 0.0:  # no edge of the specimen in view
            return np.full(grid.shape, math.exp(-2.0 * float(absorption[0, 0])), np.float32)
        if self.optics == "coherent-sum":
            return self._coherent(grid, pupil, beam, sample, margin)
        fine = 1 if grid.pitch_um * 4.0 * pupil.cutoff_per_um <= 1.05 else 2
        wide = _widen(grid, margin, fine)
        if fine > 1:
            absorption, phase = self._wave(wide, sample, beam)
        key = (wide.shape, round(wide.pitch_um * 1e7), id(transfer))
        first, second, _ = self._responses.get(key, lambda: _responses(transfer, wide))
        image = imaging.transfer_image(absorption, phase, first, second)
        return _crop_and_bin(image, grid.shape, margin, fine)

    def _coherent(self, grid: Grid, pupil: imaging.Pupil, beam: BeamState, sample: SampleState, margin: int) -> Image:
        """Abbe's sum, tile by tile on a grid fine enough for the wave."""
        source = beam.illumination.source_points(COHERENT_RINGS, COHERENT_SPOKES)
        fine = max(1, math.ceil(grid.pitch_um * 4.0 * pupil.cutoff_per_um / 1.05))
        tile = max(32, TILE_PX // fine - 2 * margin)
        out = np.empty(grid.shape, np.float32)
        for row in range(0, grid.shape[0], tile):
            for col in range(0, grid.shape[1], tile):
                part = Grid(
                    grid.left_um + col * grid.pitch_um,
                    grid.top_um - row * grid.pitch_um,
                    grid.pitch_um,
                    (min(tile, grid.shape[0] - row), min(tile, grid.shape[1] - col)),
                )
                wide = _widen(part, margin, fine)
                absorption, phase = self._wave(wide, sample, beam)
                wave = np.exp(-absorption) * np.exp(np.complex64(-1j) * phase)
                image = imaging.coherent_sum_image(wave.astype(np.complex64), wide.pitch_um, pupil, source)
                out[row : row + part.shape[0], col : col + part.shape[1]] = _crop_and_bin(
                    image, part.shape, margin, fine
                )
        return out

    def _wave(self, grid: Grid, sample: SampleState, beam: BeamState) -> tuple[Image, Image]:
        """Absorption and phase of the specimen on a grid of the optical axis."""
        stage = Grid(
            grid.left_um - sample.x_um,
            grid.top_um - sample.y_um,
            grid.pitch_um,
            grid.shape,
            sample.lean,
        )
        key = (stage, round(sample.theta_deg, 5))
        layers = self._layers.get(key, lambda: self._specimen.layers(stage, sample.theta_deg))
        return exit_wave(layers, beam.energy_kev, grid.shape, beam.bandwidth)

    def _field(self, grid: Grid, beam: BeamState, t: float) -> Image:
        """Flux density at the specimen per photon in the spot (1/um2)."""
        rms = beam.illumination.spot_rms_um()
        epoch = math.floor(t / max(self._truth.flat_drift_s / 60.0, 1.0))
        key = (
            grid, tuple(round(v, 2) for v in (*rms, *beam.spot_um, *beam.pinhole_um)), epoch,
            round(beam.illumination.aperture_rad, 6),
        )  # fmt: skip
        return self._fields.get(
            key,
            lambda: illumination_field(
                grid,
                beam.spot_um,
                rms,
                beam.pinhole_um,
                0.5 * (condenser.INNER_FRACTION + condenser.OUTER_FRACTION)
                * beam.illumination.aperture_rad * PINHOLE_BEFORE_SAMPLE_MM * 1e3,
                self._truth.flat_structure,
                epoch * self._truth.flat_drift_s / 60.0 / self._truth.flat_drift_s,
                self._truth.seed,
            ),
        )  # fmt: skip

    @staticmethod
    def _shadow(
        pixel_um: float,
        sensor: tuple[int, int],
        roi: tuple[slice, slice],
        border: int,
        detector_mm: float,
        beam: BeamState,
    ) -> Image:
        """Without a lens the hollow cone runs on: a ring on the detector, per photon (1/pixel)."""
        y = (np.arange(roi[0].start - border, roi[0].stop + border) - 0.5 * (sensor[0] - 1)) * pixel_um
        x = (np.arange(roi[1].start - border, roi[1].stop + border) - 0.5 * (sensor[1] - 1)) * pixel_um
        radius = np.hypot(x[None, :], y[:, None])
        reach = beam.illumination.aperture_rad * detector_mm * 1e3
        inner, outer = condenser.INNER_FRACTION * reach, condenser.OUTER_FRACTION * reach
        area = math.pi * (outer**2 - inner**2)
        return np.asarray(((radius > inner) & (radius < outer)) * (pixel_um**2 / area), np.float32)


def _responses(transfer: imaging.Transfer, grid: Grid) -> Responses:
    first = imaging.filter_on_grid(transfer.absorption, transfer.span_per_um, grid.shape, grid.pitch_um)
    if transfer.phase_is_zero:
        return first, None, transfer
    second = imaging.filter_on_grid(transfer.phase, transfer.span_per_um, grid.shape, grid.pitch_um)
    return first, second, transfer


def _pupil_key(pupil: imaging.Pupil) -> tuple[int, ...]:
    return (
        round(pupil.cutoff_per_um * 1e4), round(pupil.defocus_um * 50.0),
        round(pupil.defocus_rms_um * 1e2), round(pupil.wavelength_um * 1e9),
    )  # fmt: skip


def _source_key(light: condenser.Illumination) -> tuple[int, ...]:
    return (
        round(light.aperture_rad * 1e8), *(round(v) for v in light.entrance_sweep_um()),
        *(round(v) for v in light.tilt_urad), *(round(v) for v in light.offset_um),
    )  # fmt: skip


def _widen(grid: Grid, margin: int, fine: int) -> Grid:
    """Grid with a margin (in pixels of the old pitch), refined, of a length that transforms fast."""
    rows, cols = (scipy_fft.next_fast_len((n + 2 * margin) * fine, real=True) for n in grid.shape)
    pitch = grid.pitch_um / fine
    shift = margin * grid.pitch_um + 0.5 * (grid.pitch_um - pitch)
    return Grid(grid.left_um - shift, grid.top_um + shift, pitch, (rows, cols))


def _crop_and_bin(image: Image, shape: tuple[int, int], margin: int, fine: int) -> Image:
    start = margin * fine
    part = image[start : start + shape[0] * fine, start : start + shape[1] * fine]
    if fine == 1:
        return np.ascontiguousarray(part)
    blocks = part.reshape(shape[0], fine, shape[1], fine)
    return np.asarray(blocks.mean(axis=(1, 3), dtype=np.float32))

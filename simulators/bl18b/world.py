"""The beamline as one coupled world: the records ask it what their instruments would see."""

from __future__ import annotations

import math
from pathlib import Path
from threading import Lock

import numpy as np
import numpy.typing as npt

from exitwave.simulators.bl18b import beampath
from exitwave.simulators.bl18b.beampath import BeamPath, BeamState, Inputs
from exitwave.simulators.bl18b.camera import Camera, MemoryCamera, XrayCamera
from exitwave.simulators.bl18b.microscope import Microscope, Optics
from exitwave.simulators.bl18b.place_log import PlaceLog
from exitwave.simulators.bl18b.replay import ReplayCamera, open_series
from exitwave.simulators.bl18b.specimens import specimen as named_specimen
from exitwave.simulators.bl18b.telescope import TelescopeCamera
from exitwave.simulators.bl18b.truth import Truth
from exitwave.simulators.physics import beam
from exitwave.simulators.physics.specimen import NoSpecimen, Specimen

__all__ = ["Inputs", "World"]

MEMORY = "memory"
DETECTOR_OUT_MM = 75.0
TELESCOPE_OUT_MM = 40.0


class UnknownPartError(KeyError):
    """The world has no part of this name."""


class World:
    """The whole beamline behind the records.

    Parameters
    ----------
    inputs
        True positions of the axes and states of the switches. Switch names: ``FES``, ``PSH``, ``FSH`` (True when
        open), ``DET:Objective``, ``FOIL``, ``COND:Shaker``, ``COND:Shaker:Amplitude`` (um), ``SR:TopUp``. The encoders'
        errors (``truth.encoder_error``) are the records' to add to what they read back.
    truth
        Hidden errors.
    optics
        ``transfer`` or ``coherent-sum``.
    specimen
        A specimen, the name of one, a voxel file, or ``memory`` for cameras that cost nothing.
    replay
        A recorded series that the high-resolution camera serves instead of a simulated image.
    log
        Where the truth of every frame is noted.
    """

    def __init__(
        self,
        inputs: Inputs,
        truth: Truth,
        *,
        optics: Optics = "transfer",
        specimen: Specimen | str | Path = "siemens-star",
        replay: Path | None = None,
        log: PlaceLog | None = None,
    ) -> None:
        self._inputs = inputs
        self.truth = truth
        self._path = BeamPath(inputs, truth)
        in_memory = specimen == MEMORY
        if in_memory:
            specimen = NoSpecimen()
        self.specimen = named_specimen(specimen) if isinstance(specimen, str | Path) else specimen
        self._microscope = Microscope(inputs, truth, self._path, self.specimen, optics)
        self._noise = np.random.default_rng([truth.seed, 5])
        self._noise_lock = Lock()
        self._cameras: dict[str, Camera] = {
            "HR1": XrayCamera("HR1", self._microscope, truth, self, 1, log),
            "MR1": XrayCamera("MR1", self._microscope, truth, self, 2, log),
            "TEL1": TelescopeCamera(inputs, truth, self._microscope),
        }
        if in_memory:
            self._cameras["HR1"] = MemoryCamera(truth.seed)
        if replay is not None:
            self._cameras["HR1"] = ReplayCamera(open_series(replay), inputs, self)

    @property
    def optics(self) -> Optics:
        """How images are formed: ``transfer`` (fast) or ``coherent-sum`` (exact for thin specimens)."""
        return self._microscope.optics

    @optics.setter
    def optics(self, optics: Optics) -> None:
        self._microscope.optics = optics

    # -- ring -----------------------------------------------------------------------------------------------------

    def ring_current_ma(self, t: float) -> float:
        """Return the stored current (mA)."""
        return self._path.ring_current_ma(t)

    def beam_available(self, t: float) -> bool:
        """Whether there is stored beam worth working with (over 10 mA)."""
        return self._path.ring_current_ma(t) > 10.0

    def dump(self, t: float) -> None:
        """Lose the stored beam."""
        self._path.dump(t)

    def refill(self, t: float) -> None:
        """Store the full current again."""
        self._path.refill(t)

    # -- beam -----------------------------------------------------------------------------------------------------

    def energy_kev(self, t: float) -> float:
        """Return the true photon energy (keV)."""
        return self._path.energy_kev(t)

    def pitch_optimum_urad(self, t: float) -> float:
        """Pitch of the second crystal at which the flux is highest now (urad), for tests."""
        return self._path.pitch_optimum_urad(t)

    def beam_state(self, t: float) -> BeamState:
        """Everything about the beam at a moment, for tests."""
        return self._path.state(t)

    def flux_at_sample(self, t: float) -> float:
        """Photons/s in the spot at the specimen; 0 with the fast shutter closed."""
        return self._path.state(t).sample_flux if bool(self._inputs.switch("FSH", t)) else 0.0

    def ion_chamber_current_a(self, which: int, t0: float, t1: float) -> float:
        """Mean current (A) of ion chamber 1 or 2 from ``t0`` to ``t1``, with the shot noise of the absorbed photons.

        Forward: photons entering x fraction photo-absorbed in 10 mm of nitrogen x E / W x e, summed over the
        fundamental and the third harmonic. The picoammeter's own zero offset (``truth.picoammeter_zero_a``) is not
        in it.

        Raises
        ------
        UnknownPartError
            If ``which`` is not 1 or 2.
        """
        if which not in (1, 2):
            raise UnknownPartError(f"ion chamber {which}: there are 1 and 2")
        duration = max(t1 - t0, 1e-6)
        state = self._path.state(0.5 * (t0 + t1))
        current = 0.0
        for order, flux in zip((1, 3), state.chamber_flux[which - 1], strict=True):
            photon = order * state.energy_kev
            part = beam.ion_chamber_absorbed(photon, beampath.CHAMBER_MM, self.truth.gas_pressure_bar)
            mean = flux * part * duration
            with self._noise_lock:
                count = float(self._noise.poisson(mean)) if mean < 1e15 else mean
            current += count / duration * beam.charge_per_photon_c(photon)
        return current

    # -- cameras --------------------------------------------------------------------------------------------------

    def camera(self, name: str) -> Camera:
        """Camera ``HR1``, ``MR1`` or ``TEL1``.

        Raises
        ------
        UnknownPartError
            For any other name.
        """
        found = self._cameras.get(name)
        if found is None:
            raise UnknownPartError(f"camera {name!r}: there are {', '.join(self._cameras)}")
        return found

    def photons_per_s(self, camera: str, roi: tuple[slice, slice], t: float) -> npt.NDArray[np.float32]:
        """Return the noiseless image at a scintillator, photons per pixel and second (shutters ignored), for tests."""
        found = self._cameras.get(camera)
        if not isinstance(found, XrayCamera):
            raise UnknownPartError(f"camera {camera!r} takes no X-ray image")
        image, scale = self._microscope.photons_per_pixel(
            camera, found.pixel_at_screen_um(t), found.sensor_shape, roi, 0, t
        )
        return image * np.float32(scale)

    def reaches(self, camera: str, t: float) -> bool:
        """Whether shutters and the detectors' places let X-rays reach a camera."""
        switch, axis = self._inputs.switch, self._inputs.axis
        if not all(bool(switch(name, t)) for name in ("FES", "PSH", "FSH")):
            return False
        if axis("TEL:X", t) < TELESCOPE_OUT_MM:
            return False
        high_is_in = axis("DET:X", t) < DETECTOR_OUT_MM
        return high_is_in if camera == "HR1" else not high_is_in

    def objective(self, t: float) -> str:
        """Name of the objective in the beam."""
        return str(self._inputs.switch("DET:Objective", t))

    def magnification(self, camera: str, t: float) -> float:
        """Return the true magnification onto a camera's scintillator (nan without a lens), for tests."""
        distance = self._microscope.mechanics.detector_mm(camera, t)
        lens = self._microscope.mechanics.lens(distance, self.energy_kev(t), 1e-4, t)
        return math.nan if lens is None else lens.geometry.magnification

    def defocus_um(self, camera: str, t: float) -> float:
        """Return the true defocus in the specimen's plane (um; nan without a lens), for tests."""
        distance = self._microscope.mechanics.detector_mm(camera, t)
        lens = self._microscope.mechanics.lens(distance, self.energy_kev(t), 1e-4, t)
        return math.nan if lens is None else lens.pupil.defocus_um

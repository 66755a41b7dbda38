"""Keeping the second crystal on its rocking curve while the energy changes."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import asdict, dataclass
from typing import Any

import bluesky.plan_stubs as bps
import numpy as np
from bluesky.utils import Msg, MsgGenerator

from exitwave.devices import ExitwaveError
from exitwave.plans.instrument import Instrument
from exitwave.plans.pure.positions import require_count, require_finite

__all__ = ["Feedback", "IntensityError", "feed_back", "parabola_top", "peak_pitch"]

POINTS = 5


class IntensityError(ExitwaveError, RuntimeError):
    """The ion chamber did not come to rest."""


@dataclass
class Feedback:
    """What keeps the intensity up from energy to energy.

    Parameters
    ----------
    every : int
        Look for the best pitch on the ion chamber at every so many energies; 0 for never. Between, the pitch follows
        the calibration over the Bragg angle, if there is one.
    step_urad : float
        From point to point of the look, five points.
    steady : float
        Wait before frames until two readings of the ion chamber agree to this part; 0 not to wait.
    tries : int
        Readings to wait for at most.
    """

    every: int = 0
    step_urad: float = 8.0
    steady: float = 0.0
    tries: int = 20

    def __post_init__(self) -> None:
        """Refuse what can't be meant.

        Raises
        ------
        PlanInputError
        """
        require_count("feedback every", self.every, at_least=0)
        require_count("feedback tries", self.tries, at_least=2)
        require_finite("step_urad", self.step_urad, "urad", positive=True)
        require_finite("steady", self.steady, "")

    def describe(self) -> dict[str, Any]:
        """Return what the start document says."""
        return asdict(self)

    def begin(self, instrument: Instrument) -> MsgGenerator[None]:
        """Forget what an earlier scan corrected, where a calibration holds."""
        if self.every and not instrument.microscope.mono.pitch_calibration.points:
            instrument.microscope.mono.pitch_calibration.offset_urad = 0.0
        yield from bps.null()

    def wait_for_intensity(self, instrument: Instrument) -> MsgGenerator[None]:
        """Read the ion chamber until it is steady.

        Raises
        ------
        IntensityError
            It is not within the tries.
        """
        if not self.steady:
            return
        before = float("nan")
        for _ in range(self.tries):
            yield from bps.trigger(instrument.i0, wait=True)
            now = float((yield from bps.rd(instrument.i0.current, default_value=1.0)))
            if abs(now - before) <= self.steady * abs(now):
                return
            before = now
        raise IntensityError(
            f"{instrument.i0.name}: not steady to {100 * self.steady:g} % in {self.tries} readings, the last "
            f"{before:.3g} A; look at the monochromator or wait longer"
        )


def parabola_top(places: np.ndarray, values: np.ndarray) -> float:
    """Return where a parabola through points has its top, kept within half a step of the points.

    The logarithm makes a rocking curve's top a parabola to a wider reach. Where no top is seen, the highest point's
    side is returned.
    """
    x, y = np.asarray(places, np.float64), np.log(np.maximum(np.asarray(values, np.float64), 1e-30))
    middle, step = float(x.mean()), float(np.ptp(x)) / (len(x) - 1)
    curve = np.polyfit((x - middle) / step, y, 2)
    if curve[0] >= 0.0:
        return float(x[int(np.argmax(y))])
    top = middle - step * float(curve[1] / (2.0 * curve[0]))
    return float(np.clip(top, x.min() - 0.5 * step, x.max() + 0.5 * step))


def peak_pitch(instrument: Instrument, step_urad: float) -> Generator[Msg, Any, float]:
    """Look for the best pitch around the present one on the ion chamber, go there, and return it, urad."""
    pitch, i0 = instrument.microscope.mono.pitch, instrument.i0
    here = float((yield from bps.rd(pitch.user_setpoint, default_value=0.0)))
    places = here + step_urad * (np.arange(POINTS) - (POINTS - 1) / 2)
    for place in (places[0], places[-1]):
        pitch.check_value(float(place))
    currents = []
    for place in places:
        yield from bps.mv(pitch, float(place))
        yield from bps.trigger(i0, wait=True)
        currents.append(float((yield from bps.rd(i0.current, default_value=1.0))))
    top = parabola_top(places, np.asarray(currents))
    yield from bps.mv(pitch, top)
    return top


def feed_back(instrument: Instrument, feedback: Feedback, number: int) -> MsgGenerator[None]:
    """Look for the best pitch if it is time to, and have the calibration follow what was found."""
    if not feedback.every or number % feedback.every:
        return
    mono = instrument.microscope.mono
    top = yield from peak_pitch(instrument, feedback.step_urad)
    energy_kev = float((yield from bps.rd(mono.energy, default_value=8.0)))
    expected = mono.pitch_at(energy_kev)
    if expected is not None:
        mono.pitch_calibration.offset_urad += top - expected

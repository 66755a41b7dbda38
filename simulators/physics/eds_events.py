"""X-ray events of a scanned probe, drawn row by row: where, when, in which segment, in which channel.

Maps of expected photons per electron stand on a grid as coefficients of cubic B-splines, the components of one point
next to each other. For each pixel of a row the components are interpolated where the probe truly is, a Poisson
number of photons is drawn from their sum, and each photon gets a time within the dwell, a component, a segment and an
energy. Segments then lose what falls into their dead time, add up what they can't tell apart, and blur the energy.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics._jit import kernel
from exitwave.simulators.physics.rng import normal, poisson, seed_state, uniform

__all__ = ["QUANTILES", "detect", "draw_row", "quantiles"]

Singles = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

QUANTILES = 8192


def quantiles(energies_kev: Doubles, weights: Doubles) -> Singles:
    """Inverse of the cumulative distribution of energies, at `QUANTILES` points midway between equal steps."""
    cumulative = np.cumsum(weights)
    points = (np.arange(QUANTILES) + 0.5) / QUANTILES * cumulative[-1]
    chosen = energies_kev[np.minimum(np.searchsorted(cumulative, points), len(energies_kev) - 1)]
    return np.asarray(chosen, np.float32)


@kernel
def _weights(fraction: float, out: Doubles) -> None:
    rest = 1.0 - fraction
    out[0] = rest * rest * rest / 6.0
    out[1] = (4.0 - 6.0 * fraction * fraction + 3.0 * fraction * fraction * fraction) / 6.0
    out[2] = (4.0 - 6.0 * rest * rest + 3.0 * rest * rest * rest) / 6.0
    out[3] = fraction * fraction * fraction / 6.0


@kernel
def interpolate(maps: Singles, x: float, y: float, wx: Doubles, wy: Doubles, out: Doubles) -> None:
    """Values of every component at a place (grid units) of periodic maps (rows, columns, components)."""
    rows, cols, n = maps.shape
    ix, iy = math.floor(x), math.floor(y)
    _weights(x - ix, wx)
    _weights(y - iy, wy)
    out[:] = 0.0
    for j in range(4):
        row = (iy - 1 + j) % rows
        for i in range(4):
            weight = wy[j] * wx[i]
            col = (ix - 1 + i) % cols
            for c in range(n):
                out[c] += weight * maps[row, col, c]


@kernel
def draw_row(
    maps: Singles,
    x: Doubles,
    y: Doubles,
    constant: Doubles,
    collected: Doubles,
    segment_cdf: Doubles,
    energy_quantiles: Singles,
    interpolated: npt.NDArray[np.bool_],
    electrons: float,
    dwell_s: float,
    start_s: float,
    reverse: bool,
    seed: int,
    stream: int,
    dark_signal: Singles,
    pixel: npt.NDArray[np.uint32],
    first_pixel: int,
    segment: npt.NDArray[np.uint8],
    energy: Singles,
    time_s: Doubles,
) -> int:
    """Draw the photons of one row; return how many, or the negative number of pixels done if there was no room.

    Parameters
    ----------
    maps : ndarray, shape (rows, columns, components + 1)
        Spline coefficients of the photons per electron into the whole sphere; the last one is the part of the
        electrons that the annular detector collects.
    x, y : ndarray, shape (width,)
        Where the probe is at each pixel, in grid units.
    constant : ndarray, shape (components,)
        Photons per electron that come wherever the probe is.
    collected : ndarray, shape (components,)
        Part of a component's photons that any segment counts.
    segment_cdf : ndarray, shape (components, segments)
        Cumulative shares of the segments.
    energy_quantiles : ndarray, shape (components, QUANTILES)
        keV.
    interpolated : ndarray of bool, shape (components,)
        Whether energies between quantiles exist (continua), or not (lines).
    electrons : float
        In one dwell.
    dwell_s, start_s : float
        Of a pixel, and the time at which the row starts.
    reverse : bool
        Whether the row is scanned backwards (serpentine).
    seed, stream : int
        Of the random numbers.
    dark_signal : ndarray, shape (width,)
        Gets the electrons on the annular detector.
    pixel, segment, energy, time_s : ndarray
        Get the photons in order of time.
    first_pixel : int
        Number of the row's first pixel.
    """
    state = np.empty(2, np.uint64)
    seed_state(state, seed, stream)
    components = maps.shape[2] - 1
    values = np.empty(components + 1)
    wx = np.empty(4)
    wy = np.empty(4)
    count = 0
    width = x.size
    levels = energy_quantiles.shape[1]
    for step in range(width):
        col = width - 1 - step if reverse else step
        interpolate(maps, x[col], y[col], wx, wy, values)
        # An electron is collected once, however often a thick column would scatter it.
        scattered = -math.expm1(-max(values[components], 0.0)) * electrons
        dark_signal[col] = poisson(state, scattered)
        total = 0.0
        for c in range(components):
            values[c] = max(values[c] + constant[c], 0.0) * collected[c]
            total += values[c]
        photons = poisson(state, total * electrons)
        if count + photons > pixel.size:
            return -step - 1
        left = 1.0
        for p in range(photons):
            pick = uniform(state) * total
            chosen = 0
            while chosen < components - 1 and pick > values[chosen]:
                pick -= values[chosen]
                chosen += 1
            share = uniform(state)
            which = 0
            while which < segment_cdf.shape[1] - 1 and share > segment_cdf[chosen, which]:
                which += 1
            place = uniform(state) * levels
            level = min(int(place), levels - 1)
            value = energy_quantiles[chosen, level]
            if interpolated[chosen]:
                other = energy_quantiles[chosen, min(level + 1, levels - 1)]
                value += (other - value) * (place - level)
            # Ordered uniform deviates one after the other: no sorting, however many there are.
            left *= uniform(state) ** (1.0 / (photons - p))
            at = count + p
            segment[at] = which
            energy[at] = value
            time_s[at] = start_s + (step + 1.0 - left) * dwell_s
            pixel[at] = first_pixel + col
        count += photons
    return count


@kernel
def detect(
    count: int,
    pixel: npt.NDArray[np.uint32],
    segment: npt.NDArray[np.uint8],
    energy: Singles,
    time_s: Doubles,
    paralysable: bool,
    dead_s: float,
    fast_s: float,
    noise_kev2: Doubles,
    fano_kev: float,
    gain: Doubles,
    offset_kev: Doubles,
    shelf: float,
    width_kev: float,
    channels: int,
    stalled: npt.NDArray[np.bool_],
    busy_until_s: Doubles,
    last_s: Doubles,
    last_event: npt.NDArray[np.int64],
    inputs: npt.NDArray[np.int64],
    outputs: npt.NDArray[np.int64],
    rng: Any,
    channel: npt.NDArray[np.uint16],
) -> int:
    """Put photons through the segments' electronics, in place; return how many events come out.

    A segment is busy for ``dead_s`` after a pulse that it takes. Non-paralysable: what comes meanwhile is lost.
    Paralysable: and each one that is lost makes it busy for ``dead_s`` again. A pulse within ``fast_s`` of one that was
    taken is not told from it: their energies add up (pile-up).

    Parameters
    ----------
    count : int
        Photons.
    pixel, segment, energy, time_s : ndarray
        As `draw_row` left them; the first of the returned number are the events.
    paralysable : bool
        Kind of dead time.
    dead_s, fast_s : float
        Dead time and resolving time of a pulse.
    noise_kev2 : ndarray, shape (segments,)
        Variance of the electronic noise.
    fano_kev : float
        Variance of the charge per energy (Fano factor times energy of a pair).
    gain, offset_kev : ndarray, shape (segments,)
        Errors of the energy scales: 1 and 0 for none.
    shelf : float
        Part of the pulses whose charge is incomplete: anything below the full energy.
    width_kev : float
        Of a channel.
    channels : int
        Events beyond are lost.
    stalled : ndarray of bool, shape (segments,)
        Segments that count but deliver nothing.
    busy_until_s, last_s, last_event : ndarray, shape (segments,)
        State from batch to batch; ``last_event`` has to be -1 at the start of each.
    inputs, outputs : ndarray, shape (segments,)
        Counters.
    rng : ndarray of uint64, shape (2,)
        State of the random numbers.
    channel : ndarray of uint16
        Gets the events' channels.
    """
    kept = 0
    for i in range(count):
        s = segment[i]
        t = time_s[i]
        inputs[s] += 1
        if t < busy_until_s[s]:
            if t - last_s[s] < fast_s and last_event[s] >= 0:
                energy[last_event[s]] += energy[i]
            if paralysable:
                busy_until_s[s] = t + dead_s
            continue
        busy_until_s[s] = t + dead_s
        last_s[s] = t
        if stalled[s]:
            last_event[s] = -1
            continue
        last_event[s] = kept
        pixel[kept] = pixel[i]
        segment[kept] = s
        energy[kept] = energy[i]
        time_s[kept] = t
        kept += 1
    out = 0
    for i in range(kept):
        s = segment[i]
        value = float(energy[i])
        if shelf > 0.0 and uniform(rng) < shelf:
            value *= uniform(rng)
        value = value * gain[s] + offset_kev[s] + math.sqrt(noise_kev2[s] + fano_kev * value) * normal(rng)
        where = math.floor(value / width_kev)
        outputs[s] += 1
        if where < 0 or where >= channels:
            continue
        pixel[out] = pixel[i]
        segment[out] = s
        time_s[out] = time_s[i]
        channel[out] = where
        out += 1
    return out

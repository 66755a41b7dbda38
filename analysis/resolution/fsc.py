"""Fourier shell correlation of two volumes from independent halves of the data.

The halves must share nothing but the specimen: even and odd projections, each half with flats of its own. Means and
thresholds as those of the rings in `frc`; M. van Heel and M. Schatz, J. Struct. Biol. 151, 250 (2005).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.compiled import kernel, over_blocks
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive, require_within
from exitwave.analysis.resolution.frc import ONE_SEVENTH, crossing, half_bit_threshold
from exitwave.analysis.resolution.rings import NYQUIST

__all__ = ["ShellCorrelation", "cosine_mask", "fourier_shell_correlation"]

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
_COLUMNS = 4
"""Rows of planes whose last transforms are in work together: what the second-level cache holds."""
MASKS = ("cylinder", "sphere", "none")


@dataclass(frozen=True)
class ShellCorrelation:
    """Fourier shell correlation with the half periods at which it crosses two thresholds; as `RingCorrelation`."""

    frequency_per_um: Array
    correlation: Array
    correlation_sd: Array
    half_bit: Array
    half_bit_nm: float
    half_bit_sd_nm: float
    limited_by_pixel_half_bit: bool
    one_seventh_nm: float
    one_seventh_sd_nm: float
    limited_by_pixel_one_seventh: bool

    def words(self) -> str:
        """Return the result as a line of text."""
        return (
            f"Fourier shell correlation of two halves: {self.half_bit_nm:.1f} ± {self.half_bit_sd_nm:.1f} nm "
            f"(half-bit), {self.one_seventh_nm:.1f} ± {self.one_seventh_sd_nm:.1f} nm (1/7)."
        )

    def figures(self) -> dict[str, Any]:
        """Return the numbers as plain JSON types."""
        return {
            "fsc_nm": self.half_bit_nm,
            "fsc_sd_nm": self.half_bit_sd_nm,
            "fsc_limited_by_pixel": self.limited_by_pixel_half_bit,
            "fsc_one_seventh_nm": self.one_seventh_nm,
        }


def _edge(distance: Array, radius: float, width: float) -> Array:
    """Return one inside of `radius`, zero beyond radius + width, half a cosine between."""
    return 0.5 + 0.5 * np.cos(np.pi * np.clip((distance - radius) / width, 0.0, 1.0))


def cosine_mask(shape: tuple[int, int, int], kind: str = "cylinder", *, edge: float = 0.15) -> Volume:
    """Return a mask (slice, z, x) with cosine edges: an upright "cylinder" with soft ends, or a "sphere".

    `edge`: width of the fall to zero as a share of half the side; it ends at the border of the volume.
    """
    edge = require_within("edge", edge, 0.01, 1.0, "of half the side")
    r, z, x = (np.abs((np.arange(n) - 0.5 * (n - 1)) / (0.5 * n)) for n in shape)
    inside = 1.0 - edge
    if kind == "sphere":
        squares = r[:, None, None] ** 2 + z[None, :, None] ** 2 + x[None, None, :] ** 2
        return _edge(np.sqrt(squares), inside, edge).astype(np.float32)
    if kind != "cylinder":
        raise OutOfRangeError(f"mask {kind!r}: must be one of {', '.join(MASKS)}, or an array")
    disc = _edge(np.hypot(z[:, None], x[None, :]), inside, edge).astype(np.float32)
    return np.asarray(_edge(r, inside, edge).astype(np.float32)[:, None, None] * disc[None], np.float32)


@kernel
def _moments(a: Volume, b: Volume, w: Volume, out: Array) -> None:
    """Add up w, w^2, w^4, w a, w b."""
    for j in range(a.shape[0]):
        s1, s2, s4, sa, sb = 0.0, 0.0, 0.0, 0.0, 0.0
        for i in range(a.shape[1]):
            v = np.float64(w[j, i])
            s1 += v
            s2 += v * v
            s4 += v * v * v * v
            sa += v * a[j, i]
            sb += v * b[j, i]
        out[0] += s1
        out[1] += s2
        out[2] += s4
        out[3] += sa
        out[4] += sb


@kernel
def _weigh(source: Volume, w: Volume, mean: np.float32, out: Volume) -> None:
    for j in range(source.shape[0]):
        for i in range(source.shape[1]):
            out[j, i] = (source[j, i] - mean) * w[j, i]


@kernel
def _shells(
    fa: npt.NDArray[np.complex64],
    fb: npt.NDArray[np.complex64],
    fr: Array,
    fz: Array,
    fx: Array,
    even: bool,
    sums: Array,
) -> None:
    """Add cross, two powers, number and frequency of coefficients (r, z, x) to their shells."""
    shells = sums.shape[0]
    for j in range(fa.shape[0]):
        for k in range(fa.shape[1]):
            base = fr[j] * fr[j] + fz[k] * fz[k]
            for i in range(fa.shape[2]):
                radius = np.sqrt(base + fx[i] * fx[i])
                n = int(radius * (2.0 * shells))
                if n >= shells:
                    break
                a, b = fa[j, k, i], fb[j, k, i]
                weight = 1.0 if i == 0 or (even and i == fx.size - 1) else 2.0
                sums[n, 0] += weight * (a.real * b.real + a.imag * b.imag)
                sums[n, 1] += weight * (a.real * a.real + a.imag * a.imag)
                sums[n, 2] += weight * (b.real * b.real + b.imag * b.imag)
                sums[n, 3] += weight
                sums[n, 4] += weight * radius


def _shell_sums(pair: tuple[Volume, Volume], w: Volume | None, means: tuple[float, float], shells: int) -> Array:
    """Return the sums (shell, 5) of the two masked volumes' transforms, the last axis of which is never stored."""
    nr, nz, nx = pair[0].shape
    fr, fz, fx = np.abs(fft.fftfreq(nr)), np.abs(fft.fftfreq(nz)), np.abs(fft.rfftfreq(nx))
    planes = [np.empty((nr, nz, fx.size), np.complex64) for _ in pair]

    def flat(start: int, stop: int) -> None:
        work = np.empty((stop - start, nz, nx), np.float32)
        for volume, mean, target in zip(pair, means, planes, strict=True):
            part = volume[start:stop]
            if w is not None:
                _weigh(part.reshape(-1, nx), w[start:stop].reshape(-1, nx), np.float32(mean), work.reshape(-1, nx))
                part = work
            target[start:stop] = fft.rfft2(part, axes=(1, 2))

    over_blocks(flat, nr, 2)
    sums = np.zeros((-(-nz // _COLUMNS), shells, 5))

    def upright(start: int, stop: int) -> None:
        reach = NYQUIST**2 - fz[start:stop].min() ** 2
        inside = int(np.searchsorted(fx, np.sqrt(max(reach, 0.0)), side="right"))
        a, b = (fft.fft(target[:, start:stop, :inside], axis=0) for target in planes)
        if start == 0:
            a[0, 0, 0] = b[0, 0, 0] = 0.0  # the means
        _shells(a, b, fr, fz[start:stop], fx, nx % 2 == 0, sums[start // _COLUMNS])

    over_blocks(upright, nz, _COLUMNS)
    return np.asarray(sums.sum(axis=0))


def _volume(name: str, data: npt.NDArray[Any]) -> Volume:
    array = np.ascontiguousarray(data, np.float32)
    if array.ndim != 3 or min(array.shape) < 16:
        raise ShapeError(f"{name}: expected (slice, z, x) of at least 16 voxels a side, got {array.shape}")
    return array


def _weights(mask: str | npt.NDArray[Any], edge: float, shape: tuple[int, int, int]) -> Volume | None:
    """Return the weights (slice, z, x), or none."""
    if not isinstance(mask, str):
        w = np.ascontiguousarray(mask, np.float32)
        if w.shape != shape:
            raise ShapeError(f"mask: shape {w.shape}, the volumes have {shape}")
        return w
    return None if mask == "none" else cosine_mask(shape, mask, edge=edge)


def _sums_under(a: Volume, b: Volume, w: Volume) -> Array:
    """Return the sums of w, w^2, w^4, w a and w b."""
    parts = np.zeros((len(a), 5))

    def some(start: int, stop: int) -> None:
        for j in range(start, stop):
            _moments(a[j], b[j], w[j], parts[j])

    over_blocks(some, len(a), 8)
    return np.asarray(parts.sum(axis=0))


def fourier_shell_correlation(
    first: npt.NDArray[Any],
    second: npt.NDArray[Any],
    voxel_nm: float,
    *,
    mask: str | npt.NDArray[Any] = "cylinder",
    edge: float = 0.15,
    n_shells: int | None = None,
) -> ShellCorrelation:
    """Return the Fourier shell correlation of two volumes (slice, z, x) of one shape, registered to each other.

    Parameters
    ----------
    first, second : array (slice, z, x)
        Any real dtype; worked on in float32.
    voxel_nm : float
    mask : str or array (slice, z, x)
        "cylinder" or "sphere" with cosine edges, "none", or weights of one's own. A mask makes neighbouring
        coefficients alike; standard deviation and threshold count that. A mask with hard edges correlates by itself.
    edge : float
        As in `cosine_mask`.
    n_shells : int, optional
        From zero to Nyquist; as many as steps of frequency along the shortest side without.

    Raises
    ------
    ShapeError, OutOfRangeError
        Also for voxels that are not finite.
    """
    voxel = require_positive("voxel", voxel_nm, "nm")
    a, b = _volume("first", first), _volume("second", second)
    if a.shape != b.shape:
        raise ShapeError(f"volumes: shapes {a.shape} and {b.shape} differ")
    shape = (a.shape[0], a.shape[1], a.shape[2])
    w = _weights(mask, edge, shape)
    means, share = (0.0, 0.0), 1.0  # share of the coefficients that are independent
    if w is not None:
        s1, s2, s4, sa, sb = _sums_under(a, b, w)
        if s1 <= 0.0:
            raise OutOfRangeError("mask: the weights add up to nothing")
        means, share = (sa / s1, sb / s1), s2**2 / (w.size * s4)
    shells = n_shells or min(shape) // 2
    cross, power_a, power_b, count, radius = _shell_sums((a, b), w, means, shells).T
    if not np.isfinite(cross).all():
        raise OutOfRangeError("volumes: some voxels are not finite; fill them first")
    norm = np.sqrt(power_a * power_b)
    correlation = cross / np.maximum(norm, np.finfo(np.float64).tiny)
    grid = (np.arange(shells) + 0.5) / shells * NYQUIST
    frequency = np.where(radius > 0, radius / np.maximum(count, 1.0), grid)
    n = np.maximum(0.5 * count * share, 1.0)
    sd = (1.0 - correlation**2) / np.sqrt(2.0 * n)
    half_bit = half_bit_threshold(n)
    bit = crossing(frequency, correlation, sd, half_bit)
    seventh = crossing(frequency, correlation, sd, np.full(shells, ONE_SEVENTH))
    return ShellCorrelation(
        frequency_per_um=frequency / voxel * 1e3,
        correlation=correlation,
        correlation_sd=sd,
        half_bit=half_bit,
        half_bit_nm=voxel / (2.0 * bit[0]),
        half_bit_sd_nm=voxel / (2.0 * bit[0]) * bit[1] / bit[0],
        limited_by_pixel_half_bit=bit[0] >= NYQUIST,
        one_seventh_nm=voxel / (2.0 * seventh[0]),
        one_seventh_sd_nm=voxel / (2.0 * seventh[0]) * seventh[1] / seventh[0],
        limited_by_pixel_one_seventh=seventh[0] >= NYQUIST,
    )

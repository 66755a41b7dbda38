"""Fourier shell correlation of two volumes from independent halves of the data.

The halves must share nothing but the specimen: even and odd projections, each half with flats of its own. Means and
thresholds as those of the rings in `frc`; M. van Heel and M. Schatz, J. Struct. Biol. 151, 250 (2005).
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import OutOfRangeError, ShapeError, require_positive, require_within
from exitwave.analysis.resolution._shell_kernels import add_shells, load_pair, load_pair_weighted, moments
from exitwave.analysis.resolution.frc import Correlation
from exitwave.analysis.resolution.rings import NYQUIST

__all__ = ["ShellCorrelation", "cosine_mask", "fourier_shell_correlation"]

Array = npt.NDArray[np.float64]
Volume = npt.NDArray[np.float32]
_SAMPLES = 5
"""Planes, about, that tell level and size of a volume well enough to keep its digits."""
MASKS = ("cylinder", "sphere", "none")


class ShellCorrelation(Correlation):
    """Fourier shell correlation of two volumes."""

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


def _shell_sums(pair: tuple[Volume, Volume], w: Volume | None, means: tuple[float, float], shells: int) -> Array:
    """Return cross, two powers, number and frequency (5, shell) of the two volumes' transforms, shell by shell.

    The volumes travel as real and imaginary part; the transform's last axis is never stored.
    """
    a, b = pair
    nr, nz, nx = a.shape
    fr, fz, fx = (np.abs(fft.fftfreq(n)[: n // 2 + 1]) for n in (nr, nz, nx))
    # of one size both keep all their digits
    ratio = _size(a, means[0]) / _size(b, means[1])
    levels, scale = (np.float32(means[0]), np.float32(means[1])), np.float32(ratio)
    planes = np.empty((nr, nz, nx), np.complex64)

    def flat(start: int, stop: int) -> None:
        for k in range(start, stop):  # a plane fits into the second-level cache, two do not
            part = planes[k : k + 1]
            if w is None:
                load_pair(a[k : k + 1], b[k : k + 1], levels, scale, part)
            else:
                load_pair_weighted(a[k : k + 1], b[k : k + 1], w[k : k + 1], levels, scale, part)
            done = fft.fft2(part, axes=(1, 2), overwrite_x=True)
            if not np.may_share_memory(done, part):
                part[...] = done

    over_blocks(flat, nr, 8)
    sums = np.zeros((fz.size, shells, 5))

    def upright(start: int, stop: int) -> None:
        spare = np.empty(2 * nr * nx, np.complex64)
        for k in range(start, stop):
            across = np.sqrt(max(NYQUIST**2 - fz[k] ** 2, 0.0))
            m = int(np.searchsorted(fx, across, side="right"))
            pair = (k,) if (nz - k) % nz == k else (k, nz - k)
            shape = (nr, len(pair), min(2 * m - 1, nx))
            work = spare[: math.prod(shape)].reshape(shape)
            for n, row in enumerate(pair):
                work[:, n, :m] = planes[:, row, :m]
                work[:, n, m:] = planes[:, row, nx + m - shape[2] :]
            z = np.asarray(fft.fft(work, axis=0, overwrite_x=True), np.complex64)
            if k == 0:
                z[0, 0, 0] = 0.0  # the means
            add_shells(z[:, 0], z[:, -1], fr, fz[k], fx[:m], len(pair) == 2, sums[k])

    over_blocks(upright, fz.size, 4)
    total = sums.sum(axis=0).T
    sum_, difference = 0.5 * total[2], total[1]
    return np.stack([0.5 * total[0], 0.5 * (sum_ + difference), 0.5 * (sum_ - difference), total[3], total[4]])


def _level(volume: Volume) -> float:
    """Return the mean of some planes."""
    return float(volume[:: max(1, len(volume) // _SAMPLES)].mean(dtype=np.float64))


def _size(volume: Volume, mean: float) -> float:
    """Return the rms of some planes about a mean, 1 where that is nothing."""
    some = volume[:: max(1, len(volume) // _SAMPLES)] - np.float32(mean)
    return float(np.sqrt(np.mean(np.square(some), dtype=np.float64))) or 1.0


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
            moments(a[j], b[j], w[j], parts[j])

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
    share = 1.0  # of the coefficients that are independent
    if w is None:
        means = (_level(a), _level(b))
    else:
        s1, s2, s4, sa, sb = _sums_under(a, b, w)
        if s1 <= 0.0:
            raise OutOfRangeError("mask: the weights add up to nothing")
        means, share = (sa / s1, sb / s1), s2**2 / (w.size * s4)
    shells = n_shells or min(shape) // 2
    cross, power_a, power_b, count, radius = _shell_sums((a, b), w, means, shells)
    if not np.isfinite(cross).all():
        raise OutOfRangeError("volumes: some voxels are not finite; fill them first")
    norm = np.sqrt(power_a * power_b)
    correlation = cross / np.maximum(norm, np.finfo(np.float64).tiny)
    grid = (np.arange(shells) + 0.5) / shells * NYQUIST
    frequency = np.where(radius > 0, radius / np.maximum(count, 1.0), grid)
    n = np.maximum(0.5 * count * share, 1.0)
    return ShellCorrelation.of_curve(frequency, correlation, n, voxel)

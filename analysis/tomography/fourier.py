"""Reconstruction in Fourier space: spokes spread over a grid, one transform for two slices.

By the projection-slice theorem the transforms of the projections are spokes of the slice's transform. Each sample,
times the ramp and its angle's share, goes to its neighbours on a grid 1.5 times as fine as the slice needs, weighted by
a Kaiser-Bessel function; the inverse transform divided by that function's own gives the slice. It is the sum that
filtered back-projection makes, with trigonometric instead of linear interpolation, to about 1e-3 of the largest
value. Two real slices travel as the real and imaginary part of one complex one.

F. Marone and M. Stampanoni, J. Synchrotron Rad. 19, 1029 (2012); J. A. Fessler and B. P. Sutton, IEEE Trans. Signal
Process. 51, 560 (2003).
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from scipy import fft

from exitwave.analysis.compiled import n_threads, over_blocks
from exitwave.analysis.tomography import _grid
from exitwave.analysis.tomography.filters import filter_response, padded_length
from exitwave.analysis.tomography.geometry import Geometry, angular_weights

__all__ = ["FourierPlan"]

Array32 = npt.NDArray[np.float32]


class FourierPlan:
    """What the slices of one geometry share: filter, weights and phases (n, 2 width) and the grid.

    Parameters
    ----------
    geometry : Geometry
        Tilt and vertical shifts are a matter of rows, before.
    size : int
        Voxels along either side of a slice.
    filter_name, cutoff
        As in `filter_response`.
    radius : float
        Of the circle about the axis, in pixels, outside of which a slice is zero.
    edge : bool
        Whether projections go on with their last values beyond the detector (objects wider than it).
    sharp : bool
        Without, the filter falls as linear interpolation makes it fall, so that a filter's name means one sharpness
        and one noise by this method and by filtered back-projection; with it, the filter is as it is written.
    """

    def __init__(
        self,
        geometry: Geometry,
        size: int,
        *,
        filter_name: str = "ramp",
        cutoff: float = 1.0,
        radius: float = np.inf,
        edge: bool = False,
        sharp: bool = False,
    ) -> None:
        self._size, self._radius, self._edge = size, radius, edge
        self._length = padded_length(geometry.width)
        half = filter_response(self._length, filter_name, cutoff)
        if not sharp:
            half *= np.sinc(np.arange(half.size) / self._length) ** 2
        self._side = int(fft.next_fast_len(int(np.ceil(_grid.OVERSAMPLING * max(size, geometry.width)))))
        while self._side % 2:
            self._side = int(fft.next_fast_len(self._side + 1))
        self._cos, self._sin = geometry.cosines, geometry.sines
        self._half = 0.5 * (size - 1)
        # the grid's transform has its origin in pixel size // 2, the axis stands at (size - 1) / 2
        offsets = geometry.offsets + (size // 2 - self._half) * (self._cos + self._sin)
        share = angular_weights(geometry.angles_deg)[:, None] * half[None, :]
        self._factor = np.empty((len(geometry), self._length), np.complex64)
        over_blocks(lambda a, b: _grid.phases(offsets, share, self._factor, a, b), len(geometry), 32)
        index = np.arange(size) - size // 2
        sign = 1.0 - 2.0 * (index % 2)
        scale = sign * self._side / _grid.roll_off(index.astype(np.float64), self._side)
        self._scale_x = scale.astype(np.float32)
        self._scale_z = (scale / self._length).astype(np.float32)

    def __call__(self, sinograms: Array32, out: Array32) -> None:
        """Reconstruct sinograms (slice, angle, column) into `out` (slice, z, x), two by two."""
        pairs = (len(sinograms) + 1) // 2
        block = max(1, -(-pairs // (2 * n_threads())))

        def some(start: int, stop: int) -> None:
            rows = np.empty(self._factor.shape, np.complex64)
            grid = np.empty((self._side, self._side), np.complex64)
            lines = np.empty((self._side, self._size), np.complex64)
            spare = np.empty(out.shape[1:], np.float32)
            for pair in range(start, stop):
                a, b = 2 * pair, 2 * pair + 1
                alone = b == len(sinograms)
                self._pair(
                    sinograms[a], sinograms[a if alone else b], rows, grid, lines, out[a], spare if alone else out[b]
                )

        over_blocks(some, pairs, block)

    def _pair(
        self,
        first: Array32,
        second: Array32,
        rows: npt.NDArray[np.complex64],
        grid: npt.NDArray[np.complex64],
        lines: npt.NDArray[np.complex64],
        out_first: Array32,
        out_second: Array32,
    ) -> None:
        size, low = self._size, self._size // 2
        _grid.load_pair(first, second, rows, self._edge)
        samples = fft.fft(rows, axis=1, overwrite_x=True)
        grid.fill(0.0)
        single, pairs = _grid.kernel_table()
        _grid.spread(samples, self._factor, self._cos, self._sin, grid.view(np.float32), single, pairs)
        wide = fft.ifft(grid, axis=1, overwrite_x=True)
        lines[:, :low] = wide[:, self._side - low :]
        lines[:, low:] = wide[:, : size - low]
        image = fft.ifft(lines, axis=0, overwrite_x=True)
        _grid.finish(image, self._scale_z, self._scale_x, self._half, self._radius, out_first, out_second)

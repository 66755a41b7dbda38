"""Compiled loops of the Fourier shell correlation: two real volumes travel as one complex one.

With Z = A + i B for the transforms A, B of real volumes, A(-k) is the conjugate of A(k), so that

    |A|^2 + |B|^2 = (|Z(k)|^2 + |Z(-k)|^2) / 2,  |A|^2 - |B|^2 = Re Z(k) Z(-k),  Re A B* = Im Z(k) Z(-k) / 2.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import kernel

__all__ = ["add_shells", "load_pair", "load_pair_weighted", "moments"]

Volume = npt.NDArray[np.float32]
Complex = npt.NDArray[np.complex64]
Array = npt.NDArray[np.float64]


@kernel
def moments(a: Volume, b: Volume, w: Volume, out: Array) -> None:
    """Add up w, w^2, w^4, w a, w b of planes (z, x)."""
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
def load_pair(a: Volume, b: Volume, means: tuple[np.float32, np.float32], scale: np.float32, out: Complex) -> None:
    """Put two volumes without their means into real and imaginary part, the second times `scale`."""
    for k in range(a.shape[0]):
        for j in range(a.shape[1]):
            for i in range(a.shape[2]):
                out[k, j, i] = complex(a[k, j, i] - means[0], (b[k, j, i] - means[1]) * scale)


@kernel
def load_pair_weighted(
    a: Volume, b: Volume, w: Volume, means: tuple[np.float32, np.float32], scale: np.float32, out: Complex
) -> None:
    """As `load_pair`, both times weights."""
    for k in range(a.shape[0]):
        for j in range(a.shape[1]):
            for i in range(a.shape[2]):
                v = w[k, j, i]
                out[k, j, i] = complex((a[k, j, i] - means[0]) * v, (b[k, j, i] - means[1]) * (v * scale))


@kernel
def add_shells(up: Complex, down: Complex, fr: Array, fz: float, fx: Array, twice: bool, sums: Array) -> None:
    """Add what coefficients (r, x) of the rows z and -z are worth to their shells.

    Columns are those of ``fftfreq``, or as many at either end of it; row r and its mirror image, column x and its
    are taken together, as they belong to one shell.

    Parameters
    ----------
    up, down
        Z of row z and of row -z.
    fr, fx
        Frequencies, zero and the positive ones (the largest may be Nyquist's, its own mirror image).
    fz
        Of the row.
    twice
        Whether the rows are two: what is said of k then holds for -k, too.
    sums
        Of each shell: Im Z(k) Z(-k), Re Z(k) Z(-k), |Z(k)|^2 + |Z(-k)|^2, how many coefficients, their frequencies.
    """
    shells = sums.shape[0]
    rows, columns = up.shape[0], up.shape[1]
    scale = 2.0 * shells
    for j in range(fr.size):
        jm = (rows - j) % rows
        base = fr[j] * fr[j] + fz * fz
        row_weight = (2.0 if twice else 1.0) * (0.5 if jm == j else 1.0)
        a, b, c, d = up[j], up[jm], down[j], down[jm]
        for i in range(fx.size):
            radius = np.sqrt(base + fx[i] * fx[i])
            n = int(radius * scale)
            if n >= shells:
                break
            im = (columns - i) % columns
            p, q, r, s = a[i], a[im], b[i], b[im]  # (j, i), (j, -i), (-j, i), (-j, -i) of row z
            pm, qm, rm, sm = d[im], d[i], c[im], c[i]  # and minus these
            weight = 0.5 * row_weight if im == i else row_weight
            sums[n, 0] += weight * (
                p.real * pm.imag + p.imag * pm.real + q.real * qm.imag + q.imag * qm.real
                + r.real * rm.imag + r.imag * rm.real + s.real * sm.imag + s.imag * sm.real
            )  # fmt: skip
            sums[n, 1] += weight * (
                p.real * pm.real - p.imag * pm.imag + q.real * qm.real - q.imag * qm.imag
                + r.real * rm.real - r.imag * rm.imag + s.real * sm.real - s.imag * sm.imag
            )  # fmt: skip
            sums[n, 2] += weight * (
                p.real * p.real + p.imag * p.imag + pm.real * pm.real + pm.imag * pm.imag
                + q.real * q.real + q.imag * q.imag + qm.real * qm.real + qm.imag * qm.imag
                + r.real * r.real + r.imag * r.imag + rm.real * rm.real + rm.imag * rm.imag
                + s.real * s.real + s.imag * s.imag + sm.real * sm.real + sm.imag * sm.imag
            )  # fmt: skip
            sums[n, 3] += 4.0 * weight
            sums[n, 4] += 4.0 * weight * radius

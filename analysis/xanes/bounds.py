"""How well counts can tell a number at all: the Cramer-Rao bound of a spectrum's parameter, pixel by pixel.

No unbiased estimate has a smaller variance than the first diagonal element of the inverse of the Fisher information
(C. R. Rao, Bull. Calcutta Math. Soc. 37, 81 (1945)), which for optical depths of variance v(E), counts large, is
``I_ij = sum_E dm/dp_i dm/dp_j / v(E)``. It stands on expected counts and on how the spectrum moves, and on no fit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from exitwave.analysis.errors import ShapeError

__all__ = ["Derivatives", "information_bound"]

Array = npt.NDArray[np.float64]
Derivatives = Callable[[slice], Sequence[Array]]
AT_ONCE = 16384


def information_bound(derivatives: Derivatives, variance: npt.ArrayLike) -> npt.NDArray[np.float32]:
    """Return the bound (...) of the first of the parameters, in its unit, float32, the others unknown too.

    Parameters
    ----------
    derivatives : callable
        Given a slice of pixels (flattened), returns the derivatives of the optical depth after each parameter, (n,
        pixels) each, the one in question first.
    variance : (n, ...)
        Expected variances of the optical depths.

    Returns
    -------
    float32 (...)
        NaN where a derivative or a variance is not finite, or the parameters can't be told apart.

    Raises
    ------
    ShapeError
    """
    v = np.asarray(variance, np.float64)
    if v.ndim < 2:
        raise ShapeError(f"bound: variances {v.shape}, expected (n, ...)")
    flat = v.reshape(len(v), -1)
    bound = np.full(flat.shape[1], np.nan, np.float32)
    for start in range(0, flat.shape[1], AT_ONCE):
        part = slice(start, start + AT_ONCE)
        jacobian = np.stack(list(derivatives(part)))
        if jacobian.shape[1:] != flat[:, part].shape:
            raise ShapeError(f"bound: derivatives {jacobian.shape[1:]}, variances {flat[:, part].shape}")
        with np.errstate(divide="ignore"):
            weight = 1.0 / flat[:, part]
        fisher = np.einsum("inp,np,jnp->pij", jacobian, weight, jacobian, optimize=True)
        # units of the parameters differ by orders of magnitude: unit diagonal first
        size = np.sqrt(np.einsum("pii->pi", fisher))
        known = np.isfinite(fisher).all(axis=(1, 2)) & (size > 0).all(axis=1)
        scaled = fisher[known] / (size[known][:, :, None] * size[known][:, None, :])
        apart = np.linalg.cond(scaled) < 1e12
        unit = np.zeros((int(apart.sum()), len(jacobian), 1))
        unit[:, 0] = 1.0
        found = np.full(len(scaled), np.nan)
        found[apart] = np.linalg.solve(scaled[apart], unit)[:, 0, 0]
        values = np.full(len(fisher), np.nan)
        values[known] = np.sqrt(found) / size[known][:, 0]
        bound[part] = values
    return bound.reshape(v.shape[1:])

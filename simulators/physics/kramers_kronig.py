"""Dispersion that belongs to an absorption: f' from f'', exact for polygons.

f'(E) = (1 / pi) P int f''(E') [1 / (E - E') - 1 / (E + E')] dE', E in any unit (J. Als-Nielsen and D. McMorrow,
Elements of Modern X-ray Physics, 2nd ed., eq. 8.30, with f'' > 0 for absorption). Of a polygon the integral is closed:
integrating by parts twice leaves sum_i d_i g(E - E_i), g(u) = u ln|u|, d_i the change of slope at node i.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
_ROWS = 64


def _log_moment(away: Floats) -> Floats:
    """Return u ln|u|, 0 at 0."""
    size = np.abs(away)
    return np.asarray(away * np.log(np.where(size > 0.0, size, 1.0)))


def dispersion(energy: Floats, absorption: Floats, at: Floats) -> Floats:
    """Return f' of an f'' given as a polygon that is 0 outside its nodes.

    Parameters
    ----------
    energy, absorption
        float64 (n,) nodes, ascending, and f'' there; it has to begin and end with 0 (a jump has an infinite f').
    at
        Energies (m,), in the unit of the nodes.

    Returns
    -------
    f_prime
        float64 (m,), in the unit of the absorption.
    """
    slopes = np.diff(absorption) / np.diff(energy)
    turn = np.diff(slopes, prepend=0.0, append=0.0)
    out = np.empty(at.shape)
    for start in range(0, at.size, _ROWS):
        part = at[start : start + _ROWS, None]
        out[start : start + _ROWS] = (_log_moment(part - energy) + _log_moment(-part - energy)) @ turn
    return out / np.pi

"""Reconstruction by iteration, for few views and missing wedges: SIRT, CGLS, and total variation.

All of them solve A v = p for the slices v with the matched pair of `projector`, many slices side by side; no slice
knows of the others. Rays that miss the region to be reconstructed are ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from exitwave.analysis.compiled import over_blocks
from exitwave.analysis.errors import OutOfRangeError, require_within
from exitwave.analysis.tomography import _steps as steps
from exitwave.analysis.tomography.geometry import Geometry
from exitwave.analysis.tomography.projector import Rays

__all__ = ["IterativeOptions", "cgls", "sirt", "tv"]

Array32 = npt.NDArray[np.float32]

BALANCE = 0.1
"""Dual to primal step of the primal-dual method: what converges in a few hundred iterations at 30 to 180 views."""


@dataclass(frozen=True)
class IterativeOptions:
    """What the iterations need to know.

    Attributes
    ----------
    iterations : int
    nonnegative : bool
        Whether attenuation below zero is set to zero (SIRT after every iteration, TV as a constraint, CGLS at the end).
    strength : float
        Of the total variation, relative to the slice's own mean attenuation: the larger, the flatter.
    """

    iterations: int
    nonnegative: bool = True
    strength: float = 0.0

    def __post_init__(self) -> None:
        if self.iterations < 1:
            raise OutOfRangeError(f"iterations = {self.iterations}: at least one is needed")
        require_within("strength", self.strength, 0.0, 1e9, "x mean attenuation")


class System:
    """The rays of a geometry with the sums of their weights, and arrays of one pack of slices.

    `mask` (z, x) is one inside of the circle to be reconstructed and zero elsewhere.
    """

    def __init__(self, geometry: Geometry, mask: Array32) -> None:
        self.rays = Rays(geometry, (mask.shape[0], mask.shape[1]))
        self.mask = mask
        one = np.zeros((*mask.shape, 4), np.float32)
        one[...] = mask[:, :, None]
        sums = self.rays.sinogram(4)
        self.rays.forward(one, sums)
        self.ray_sums: Array32 = np.ascontiguousarray(sums[:, :, 0])
        sums.fill(0.0)
        sums[:, 1:-2] = 1.0
        self.voxel_sums: Array32 = self.back(sums)[:, :, 0] * mask

    def back(self, sino: Array32) -> Array32:
        """Return the transpose of the projection, packed (z, x, lane)."""
        straight, turned = self.rays.back(sino)
        over_blocks(lambda a, b: steps.add_turned(straight, turned, a, b), straight.shape[0], 32)
        return straight


Solver = Callable[[System, Array32, IterativeOptions], Array32]


def _inverse(sums: Array32) -> Array32:
    """Return 1 / sums, zero for rays and voxels that meet next to nothing."""
    least = 1e-3 * float(sums.max(initial=0.0))
    return np.where(sums > least, 1.0 / np.maximum(sums, max(least, 1e-30)), 0.0).astype(np.float32)


def sirt(system: System, sino: Array32, options: IterativeOptions) -> Array32:
    """Return slices (z, x, lane) after so many steps v += C A^T R (p - A v), from nothing.

    R and C are one over the sums of the rays' and the voxels' weights: A. C. Kak and M. Slaney (1988), ch. 7;
    J. Gregor and T. Benson, IEEE Trans. Med. Imaging 27, 918 (2008).
    """
    r, c = _inverse(system.ray_sums), _inverse(system.voxel_sums)
    v = np.zeros((*system.mask.shape, sino.shape[2]), np.float32)
    residual = np.empty_like(sino)
    for turn in range(options.iterations):
        if turn:
            system.rays.forward(v, residual)
        else:
            residual.fill(0.0)
        over_blocks(lambda a, b: steps.weighted_residual(sino, residual, r, a, b), len(sino), 16)
        straight, turned = system.rays.back(residual)
        over_blocks(
            lambda a, b, straight=straight, turned=turned: steps.sirt_update(  # type: ignore[misc]
                v, straight, turned, c, options.nonnegative, a, b
            ),
            len(v),
            32,
        )
    return v


def cgls(system: System, sino: Array32, options: IterativeOptions) -> Array32:
    """Return slices (z, x, lane) after so many steps of conjugate gradients on the least squares, from nothing.

    A. Bjorck, Numerical Methods for Least Squares Problems (1996), algorithm 7.4.1. Stop early: late iterations
    fit the noise.
    """
    v = np.zeros((*system.mask.shape, sino.shape[2]), np.float32)
    mask = system.mask[:, :, None]
    r = sino * (system.ray_sums > 1e-3 * system.ray_sums.max())[:, :, None]
    s = system.back(r) * mask
    p = s.copy()
    gamma = steps.squares(s)
    q = system.rays.sinogram(sino.shape[2])
    for _ in range(options.iterations):
        system.rays.forward(p, q)
        alpha = (gamma / np.maximum(steps.squares(q), 1e-30)).astype(np.float32)
        over_blocks(lambda a, b, p=p, alpha=alpha: steps.add_scaled(v, p, alpha, a, b), len(v), 32)  # type: ignore[misc]
        over_blocks(lambda a, b, alpha=alpha: steps.add_scaled(r, q, -alpha, a, b), len(r), 16)  # type: ignore[misc]
        s = system.back(r)
        s *= mask
        new = steps.squares(s)
        beta = (new / np.maximum(gamma, 1e-30)).astype(np.float32)
        over_blocks(lambda a, b, s=s, beta=beta: steps.scale_add(p, beta, s, a, b), len(p), 32)  # type: ignore[misc]
        gamma = new
    if options.nonnegative:
        np.maximum(v, 0.0, out=v)
    return v


def tv(system: System, sino: Array32, options: IterativeOptions) -> Array32:
    """Return slices (z, x, lane) that minimise |A v - p|^2 / 2 + strength m TV(v), v >= 0 if asked for.

    m is the slice's mean attenuation, |p| over the norm of the rays' lengths, so that the result scales with p.
    Isotropic total variation of each slice. The primal-dual method of A. Chambolle and T. Pock, J. Math. Imaging Vis.
    40, 120 (2011), algorithm 1, as E. Y. Sidky et al., Phys. Med. Biol. 57, 3065 (2012), algorithm 4 has it for
    tomography, with the diagonal steps of T. Pock and A. Chambolle, ICCV (2011), eq. 10.
    """
    lanes = sino.shape[2]
    shape = (*system.mask.shape, lanes)
    seen = system.ray_sums > 1e-3 * system.ray_sums.max()
    sigma = _inverse(system.ray_sums) * np.float32(BALANCE)
    # the gradient adds 4 to a voxel's sum of weights; scaled by nu its rows weigh as much as a ray's
    nu = float(np.median(system.voxel_sums[system.mask > 0]))
    tau = np.where(system.mask > 0, 1.0 / BALANCE / (system.voxel_sums + 4.0 * nu), 0.0).astype(np.float32)
    v, ahead = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    gz, gx = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    y = np.zeros_like(sino)
    fit = np.empty_like(sino)
    data = sino * seen[:, :, None]
    half = 0.5 * BALANCE / nu
    mean = np.sqrt(steps.squares(data) / float((system.ray_sums.astype(np.float64) ** 2).sum()))
    limit = (options.strength / nu * mean).astype(np.float32)
    for _ in range(options.iterations):
        system.rays.forward(ahead, fit)
        over_blocks(lambda a, b: steps.dual_data(y, fit, data, sigma, a, b), len(y), 16)
        over_blocks(lambda a, b: steps.dual_gradient(gz, gx, ahead, nu, half, limit, a, b), len(v), 16)
        straight, turned = system.rays.back(y)
        over_blocks(
            lambda a, b, straight=straight, turned=turned: steps.primal(  # type: ignore[misc]
                v, ahead, straight, turned, gz, gx, nu, tau, options.nonnegative, a, b
            ),
            len(v),
            16,
        )
    return v

"""Voxels of the simulated particle: its chords at many angles and energies, against the states that it is made of."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from exitwave.analysis.tomography import Geometry
from exitwave.analysis.xanes import (
    EnergyProjections,
    LinearCombination,
    StackOperator,
    VolumeAlignment,
    reconstruct_energies,
    surface_depth_nm,
)
from exitwave.simulators.bl18b.ncm import MATRIX_G_CM3, STATES, ncm_particle
from exitwave.simulators.physics.specimen import Grid

SIZE, ANGLES, PITCH_UM = 96, 60, 0.1
ENERGIES = np.array([8260.0, 8300.0, 8336.0, 8339.0, 8341.0, 8343.0, 8346.0, 8349.0, 8400.0, 8500.0])


def test_the_valence_of_voxels_is_the_particles() -> None:
    """Without noise: what is left is the resolution, and few angles. A wrong sense of rotation would mirror it."""
    particle = ncm_particle(cycled=True)
    angles = np.arange(ANGLES) * 180.0 / ANGLES
    grid = Grid.centred((SIZE, SIZE), PITCH_UM)
    thickness = np.stack([particle.aggregate.thickness(grid, float(angle)) for angle in angles], axis=1)
    mu = np.array([1e-4 * MATRIX_G_CM3 * state.photo_cm2_g(ENERGIES) for state in STATES])
    source = [EnergyProjections(np.einsum("s,sayx->ayx", row, thickness).astype(np.float32)) for row in mu.T]
    operator = StackOperator.identity(ANGLES, (SIZE, SIZE))
    geometry = Geometry(angles, SIZE, 0.5 * (SIZE - 1))
    alignment = VolumeAlignment((operator,) * len(ENERGIES), geometry, 0.0)
    volumes, _ = reconstruct_energies(source, alignment)
    standards = {f"{valence}+": (ENERGIES, row) for valence, row in zip((2, 3, 4), mu, strict=True)}
    found = LinearCombination(ENERGIES, standards, non_negative=False, sum_to_one=False).fit(volumes)
    measured = np.einsum("s,szyx->zyx", np.array([2.0, 3.0, 4.0]), found.fractions)

    labels = particle.labels(0.25 * PITCH_UM)
    fine = particle.valence(0.25 * PITCH_UM, labels)
    # four cells per side and voxel, both about the middle: 9.6 um each
    assert fine.shape == (4 * SIZE,) * 3
    blocks = (SIZE, 4, SIZE, 4, SIZE, 4)
    solid = np.isfinite(fine).reshape(blocks).mean(axis=(1, 3, 5), dtype=np.float32)
    filled = np.nan_to_num(fine.astype(np.float32)).reshape(blocks).mean(axis=(1, 3, 5))
    true = filled / np.maximum(solid, 1e-3)
    inside = (surface_depth_nm(ndimage.binary_fill_holes(solid > 0.5), 1e3 * PITCH_UM) > 250.0) & (solid > 0.9)
    assert inside.sum() > 150_000
    error = (measured - true)[inside]
    assert abs(float(error.mean())) < 0.01
    # domains and skins of cracks differ from what is around them by up to a unit, and their borders are blurred
    assert float(np.sqrt(np.mean(error**2))) < 0.5 * float(true[inside].std())
    assert float(np.corrcoef(measured[inside], true[inside])[0, 1]) > 0.85
    both = inside & inside[:, :, ::-1]
    assert float(np.corrcoef(measured[:, :, ::-1][both], true[both])[0, 1]) < 0.6

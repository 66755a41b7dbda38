"""Specimens by name, and from files."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np

from exitwave.simulators.bl18b.ncm import LABELS, STATES, NcmParticle, ncm_particle
from exitwave.simulators.physics.bodies import Body, Cylinder, Difference, Ellipsoid, Intersection, box, slab, sphere
from exitwave.simulators.physics.materials import GLASS, GOLD, Material, k_edge_kev
from exitwave.simulators.physics.near_edge import StatedMaterial
from exitwave.simulators.physics.specimen import BodySpecimen, NoSpecimen, Specimen
from exitwave.simulators.physics.standards import STANDARDS
from exitwave.simulators.physics.star import SiemensStar
from exitwave.simulators.physics.voxels import load_voxels


class UnknownSpecimenError(ValueError):
    """No specimen has this name, and no file either."""


class NoTruthVolumeError(ValueError):
    """A specimen has no volume to compare with, or one that can't be written."""


def gold_particles(seed: int = 7) -> BodySpecimen:
    """Return gold particles on the inside of a drawn glass capillary (8 um outside, 7 um inside)."""
    rng = np.random.default_rng(seed)
    parts: list[tuple[Body, Material]] = [
        (Difference(Cylinder((0.0, 0.0, 0.0), 4.0, 60.0), (Cylinder((0.0, 0.0, 0.0), 3.5, 80.0),)), GLASS)
    ]
    for _ in range(24):
        radius = float(rng.uniform(0.15, 0.55))
        angle = float(rng.uniform(0.0, 2.0 * math.pi))
        away = 3.45 - radius
        centre = (away * math.cos(angle), float(rng.uniform(-7.0, 7.0)), away * math.sin(angle))
        axes = tuple(float(radius * s) for s in rng.uniform(0.7, 1.0, 3))
        parts.append((Ellipsoid(centre, (axes[0], axes[1], axes[2])), GOLD))
    return BodySpecimen("gold-particles", tuple(parts))


def gold_sphere() -> BodySpecimen:
    """Return one gold sphere of 2 um diameter, 3 um off the axis."""
    return BodySpecimen("sphere", ((sphere((3.0, 0.0, 0.0), 1.0), GOLD),))


def knife_edge() -> BodySpecimen:
    """Return a gold foil of 1 um with a straight edge 5 deg off the vertical, filling the left half."""
    turn = math.radians(5.0)
    edge = box((-10.0, 0.0, 0.0), (20.0, 40.0, 1.0))
    tilted = slab((-10.0, 0.0, 0.0), (math.cos(turn), math.sin(turn), 0.0), 20.0)
    return BodySpecimen("knife-edge", ((Intersection((*edge.parts[2:], *tilted.parts)), GOLD),))


def step_wedge() -> BodySpecimen:
    """Return five gold steps of 0.2 um, each 3 um wide, side by side."""
    steps: list[tuple[Body, Material]] = [
        (box((3.0 * (n - 2), 0.0, 0.1 * (n + 1)), (3.0, 12.0, 0.2 * (n + 1))), GOLD) for n in range(5)
    ]
    return BodySpecimen("step-wedge", tuple(steps))


OXIDES = {
    "Ni2+": ("NiO", 6.67), "Ni3+": ("LiNiO2", 4.78), "Ni4+": ("NiO2", 4.8),
    "Mn2+": ("MnO", 5.37), "Mn3+": ("Mn2O3", 4.5), "Mn4+": ("MnO2", 5.03),
    "Fe2+": ("FeO", 5.74), "Fe3+": ("Fe2O3", 5.24),
    "Co2+": ("CoO", 6.44), "Co3+": ("LiCoO2", 5.05),
}  # fmt: skip
"""Formula and density (g/cm3) of an oxide for each standard."""
_FILM = re.compile(r"film-([A-Z][a-z]?\d\+)")
_FILM_UM = (40.0, 40.0, 3.0)


def film(standard: str) -> BodySpecimen:
    """Return an even film of 3 um, 40 um wide and high, of the oxide of a standard: its reference spectrum."""
    formula, density = OXIDES[standard]
    material = StatedMaterial(formula, density, (STANDARDS[standard],))
    return BodySpecimen(f"film-{standard}", ((box((0.0, 0.0, 0.0), _FILM_UM), material),))


NAMED: dict[str, Callable[[], Specimen]] = {
    "siemens-star": SiemensStar,
    "gold-particles": gold_particles,
    "sphere": gold_sphere,
    "knife-edge": knife_edge,
    "step-wedge": step_wedge,
    "none": NoSpecimen,
}


_NCM = re.compile(r"ncm-(pristine|cycled)(\+fiducials)?(?::(\d+))?")


def ncm_named(name: str) -> NcmParticle | None:
    """Return the particle of a name, ``ncm-pristine`` or ``ncm-cycled`` [``+fiducials``] [``:SEED``], if it is one."""
    match = _NCM.fullmatch(name)
    if match is None:
        return None
    kind, fiducials, seed = match.groups()
    return ncm_particle(cycled=kind == "cycled", seed=int(seed or 11), fiducials=fiducials is not None)


def specimen_figures(name_or_path: str | Path) -> dict[str, object]:
    """Return what is known of a specimen for those who compare: its name, and of a particle its `figures`."""
    particle = ncm_named(str(name_or_path))
    return {"name": str(name_or_path)} if particle is None else particle.figures


def write_truth_volume(name: str | Path, path: Path, pitch_nm: float) -> None:
    """Write what is where in a particle, for comparison with its tomogram.

    The file's ``labels``, uint8 (row, y, x), are `NcmParticle.labels` at theta = 0: row 0 on top, y along the beam, the
    rotation axis in the middle; attributes ``pitch_nm``, ``axes``, ``labels`` (JSON) and ``specimen`` say so. A stage
    at theta takes a point (x, y) of a slice to the column x cos(theta) + y sin(theta), counted from the axis. On the
    same voxels ``valence``, float16, is nickel's (nan where there is none); a voxel's spectrum is that of the two
    states of `write_truth_spectra` between which it lies, mixed in proportion.

    Raises
    ------
    NoTruthVolumeError
        The specimen is no particle, or the pitch is outside 5 to 500 nm.
    """
    particle = ncm_named(str(name))
    if particle is None:
        raise NoTruthVolumeError(f"specimen {str(name)!r} has no volume; take ncm-pristine or ncm-cycled")
    if not 5.0 <= pitch_nm <= 500.0:
        raise NoTruthVolumeError(f"pitch of the volume: {pitch_nm} nm is outside [5, 500] nm")
    labels = particle.labels(pitch_nm * 1e-3)
    with h5py.File(path, "w") as file:
        dataset = file.create_dataset("labels", data=labels, chunks=(1, *labels.shape[1:]), compression="lzf")
        dataset.attrs.update(
            pitch_nm=pitch_nm, axes="row (top first), y (along the beam), x", theta_deg=0.0, specimen=particle.name,
            labels=json.dumps(LABELS),
        )  # fmt: skip
        valence = particle.valence(pitch_nm * 1e-3, labels)
        dataset = file.create_dataset("valence", data=valence, chunks=(1, *labels.shape[1:]), compression="lzf")
        dataset.attrs.update(element="Ni", pitch_nm=pitch_nm, specimen=particle.name)


def write_truth_spectra(path: Path) -> None:
    """Write the spectra of the standards as columns of text, for comparison with what is measured.

    Columns: ``energy`` (eV); each standard's normalised spectrum by its name, ``Ni2+``; and the photo-absorption per
    mass of NMC622 with all of its nickel in one state, ``NMC622_Ni2+`` (cm2/g). Around every K edge there is a point
    each 0.1 eV from -30 eV to +70 eV, and each 1 eV from -160 eV to +600 eV.
    """
    grid = np.unique(np.round(np.concatenate([np.arange(-1600, 6001, 10), np.arange(-300, 701)]) / 10.0, 1))
    edges = sorted({1e3 * k_edge_kev(standard.element)[0] for standard in STANDARDS.values()})
    energy = np.unique(np.round(np.concatenate([edge + grid for edge in edges]), 1))
    names, columns = ["energy"], [energy]
    for name, standard in STANDARDS.items():
        names.append(name)
        columns.append(standard.normalised(energy))
    for material in STATES:
        names.append(f"NMC622_{material.states[0].name}")
        columns.append(material.photo_cm2_g(energy))
    units = ["eV", *([""] * len(STANDARDS)), *(["cm2/g"] * len(STATES))]
    header = [f"Column.{n}: {name} {unit}".rstrip() for n, (name, unit) in enumerate(zip(names, units, strict=True), 1)]
    np.savetxt(path, np.stack(columns, axis=1), fmt="%.9g", header="\n".join([*header, "-" * 12, " ".join(names)]))


def specimen(name_or_path: str | Path) -> Specimen:
    """Return the specimen of a name, or of a voxel file (.npy, .h5).

    Raises
    ------
    UnknownSpecimenError
        If it is neither a known name nor a file.
    """
    make = NAMED.get(str(name_or_path))
    if make is not None:
        return make()
    particle = ncm_named(str(name_or_path))
    if particle is not None:
        return particle.specimen()
    of_oxide = _FILM.fullmatch(str(name_or_path))
    if of_oxide is not None and of_oxide[1] in OXIDES:
        return film(of_oxide[1])
    path = Path(name_or_path)
    if not path.is_file():
        raise UnknownSpecimenError(
            f"specimen {str(name_or_path)!r}: give one of {', '.join(NAMED)}, ncm-pristine[+fiducials][:SEED], "
            f"ncm-cycled[+fiducials][:SEED], film-STATE with one of {', '.join(OXIDES)}, or a .npy/.h5 file"
        )
    return load_voxels(path)

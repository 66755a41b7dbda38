"""Secondary particles of NCM622, pristine or cycled, drawn from a seed: what nano-tomography is to tell apart.

A near-sphere of about 8 um whose surface is rough with primary grains; inside, grains somewhat denser than what is
between them, and pores. Cycling opens cracks along the grains' boundaries: flat ellipsoids of 100 to 300 nm full
width that begin at the centre and run outwards, some of them to the surface, as cycled nickel-rich particles show
them (Miller et al., Adv. Energy Mater. 3 (2013) 1098; Tsai et al., Energy Environ. Sci. 11 (2018) 860). The nickel of
a pristine one has the valence that balances the charge of LiNi0.6Co0.2Mn0.2O2 with Co3+ and Mn4+, 2.67; in a cycled
one it falls as r^2 towards the centre, is lower beside cracks, and some domains have kept other states. The particle
stands on the tip of a drawn glass capillary; as an option gold spheres of 200 to 300 nm sit on its surface.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from functools import cached_property, lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from exitwave.simulators.physics.bodies import Body, Ellipsoid, Vector, sphere
from exitwave.simulators.physics.materials import GLASS, GOLD, NMC622, Material
from exitwave.simulators.physics.near_edge import StatedMaterial
from exitwave.simulators.physics.quadrics import TiltedEllipsoid, Tube, label_ellipsoid
from exitwave.simulators.physics.specimen import BodySpecimen
from exitwave.simulators.physics.standards import NICKEL, STANDARDS
from exitwave.simulators.physics.valence import Region, StatedAggregate, ValenceSpecimen

Floats = npt.NDArray[np.float64]
Labels = npt.NDArray[np.uint8]

RADIUS_UM = 4.0
MATRIX_G_CM3 = 4.60
GRAIN_G_CM3 = 0.30
"""What a grain has on top of what is between grains; together a little over the powder's 4.75 g/cm3."""
LABELS = {"outside": 0, "material": 1, "crack": 2, "pore": 3, "glass": 4, "gold": 5}
BALANCED_VALENCE = (4.0 - 1.0 - 0.2 * 3.0 - 0.2 * 4.0) / 0.6
"""Of nickel in LiNi0.6Co0.2Mn0.2O2."""
STATES = tuple(
    StatedMaterial(NMC622.formula, MATRIX_G_CM3, (nickel, STANDARDS["Co3+"], STANDARDS["Mn4+"])) for nickel in NICKEL
)
"""What a particle would be with all of its nickel in one state."""
CORE_VALENCE, CRACK_VALENCE, CRACK_SKIN_UM = 2.2, 2.1, 0.12
DOMAIN_VALENCES = (2.05, 3.2)
_DOMAINS = 36
_UPRIGHT = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_SHELL_UM = 0.5
_FIGURES_PITCH_UM = 0.025


def _vector(values: Floats) -> Vector:
    return float(values[0]), float(values[1]), float(values[2])


def _direction(rng: np.random.Generator) -> Floats:
    away = rng.normal(size=3)
    return np.asarray(away / np.linalg.norm(away))


def _ellipsoid(centre: Floats, semi_axes: tuple[float, float, float], along: Floats, spin: float) -> TiltedEllipsoid:
    """Return an ellipsoid whose first axis points `along`, turned by `spin` about it."""
    helper = np.eye(3)[int(np.argmin(np.abs(along)))]
    second = np.cross(along, helper)
    second /= np.linalg.norm(second)
    third = np.cross(along, second)
    c, s = math.cos(spin), math.sin(spin)
    rows = (along, c * second + s * third, -s * second + c * third)
    return TiltedEllipsoid(_vector(centre), semi_axes, (_vector(rows[0]), _vector(rows[1]), _vector(rows[2])))


@dataclass(frozen=True)
class NcmParticle:
    """A particle and what holds it.

    Attributes
    ----------
    name
        As it was asked for.
    envelope
        The sphere-like body that grains roughen.
    grains_outside, grains_inside
        Primary grains: those that make the surface, and those of higher density within.
    cracks, pores
        Empty.
    fiducials
        Gold spheres on the surface.
    domains
        Spheres whose nickel has a valence of its own.
    """

    name: str
    envelope: TiltedEllipsoid
    grains_outside: tuple[TiltedEllipsoid, ...]
    grains_inside: tuple[TiltedEllipsoid, ...]
    cracks: tuple[TiltedEllipsoid, ...]
    pores: tuple[TiltedEllipsoid, ...]
    fiducials: tuple[Ellipsoid, ...]
    domains: tuple[Region, ...] = ()

    @cached_property
    def aggregate(self) -> StatedAggregate:
        """The particle's bodies and the valence of its nickel."""
        skins = tuple(
            Region(
                TiltedEllipsoid(crack.centre, _vector(np.asarray(crack.semi_axes) + CRACK_SKIN_UM), crack.directions),
                CRACK_VALENCE,
            )
            for crack in self.cracks
        )
        core = CORE_VALENCE if self.cracks else BALANCED_VALENCE
        return StatedAggregate(
            solids=(self.envelope, *self.grains_outside),
            voids=(*self.cracks, *self.pores),
            dense=self.grains_inside,
            extra_density=GRAIN_G_CM3 / MATRIX_G_CM3,
            polynomial=(core, BALANCED_VALENCE - core, 0.0),
            radius_um=RADIUS_UM,
            reach_um=max(
                math.hypot(*body.centre) + max(body.semi_axes) for body in (self.envelope, *self.grains_outside)
            ),
            regions=(*skins, *self.domains),
            standards=tuple(float(standard.valence) for standard in NICKEL),
        )

    @property
    def capillary(self) -> Tube:
        """The tip under the particle."""
        height = 60.0
        return Tube((0.0, -self.envelope.semi_axes[1] - 0.5 * height, 0.0), 1.5, 1.0, height)

    def specimen(self) -> ValenceSpecimen:
        """Return it with its states as materials, and the bodies beside it."""
        others: tuple[tuple[Body, Material], ...] = (
            (self.capillary, GLASS),
            *((gold, GOLD) for gold in self.fiducials),
        )
        beside = BodySpecimen(self.name, others)
        return ValenceSpecimen(self.name, self.aggregate, STATES, beside, reach_um=1.1 * RADIUS_UM)

    def valence(self, pitch_um: float, labels: Labels | None = None) -> npt.NDArray[np.float16]:
        """Return the valence of nickel on the voxels of `labels` (float16, nan where there is none)."""
        labels = self.labels(pitch_um) if labels is None else labels
        return self.aggregate.volume(pitch_um, labels == LABELS["material"])

    def labels(self, pitch_um: float) -> Labels:
        """Return what is where at theta = 0.

        Parameters
        ----------
        pitch_um
            Edge of a voxel (um).

        Returns
        -------
        labels
            uint8 (row, y, x) of `LABELS`, a cube of 9.6 um about the stage's origin, the rotation axis in its middle:
            row 0 is on top (the stage's y upwards), the array's y grows along the beam (the stage's z), x with x.
        """
        side = 2 * math.ceil(1.2 * RADIUS_UM / pitch_um)
        labels = np.zeros((side, side, side), np.uint8)
        for solid in (self.envelope, *self.grains_outside):
            label_ellipsoid(labels, pitch_um, solid, LABELS["material"])
        for pore in self.pores:
            label_ellipsoid(labels, pitch_um, pore, LABELS["pore"], only=LABELS["material"])
        for crack in self.cracks:
            label_ellipsoid(labels, pitch_um, crack, LABELS["crack"], only=LABELS["material"])
            label_ellipsoid(labels, pitch_um, crack, LABELS["crack"], only=LABELS["pore"])
        for gold in self.fiducials:
            ball = TiltedEllipsoid(gold.centre, gold.semi_axes, _UPRIGHT)
            label_ellipsoid(labels, pitch_um, ball, LABELS["gold"], only=LABELS["outside"])
        place = (np.arange(side) - 0.5 * (side - 1)) * pitch_um
        tube = self.capillary
        away = np.hypot(place[:, None], place[None, :])
        wall = (away <= tube.outer) & (away >= tube.inner)
        for row in np.flatnonzero(-place <= tube.centre[1] + 0.5 * tube.height):
            labels[row][wall & (labels[row] == LABELS["outside"])] = LABELS["glass"]
        return labels

    @cached_property
    def figures(self) -> dict[str, Any]:
        """What a tomogram should find.

        Fractions are of the volume within the particle's surface, cracks and pores included; cracks that run through
        the surface count up to it. Shells are by depth below the envelope's surface, (1 - rho) R with rho the
        point's place on the scale of the ellipsoid.
        """
        pitch = _FIGURES_PITCH_UM
        labels = self.labels(pitch)
        place = ((np.arange(labels.shape[0]) - 0.5 * (labels.shape[0] - 1)) * pitch).astype(np.float32)
        a, b, c = (np.float32(value) for value in self.envelope.semi_axes)
        number = math.ceil(RADIUS_UM / _SHELL_UM)
        counts = np.zeros((number, 4), np.int64)
        flat = (place[:, None] / c) ** 2 + (place[None, :] / a) ** 2
        for row, plane in enumerate(labels):
            rho = np.sqrt(flat + (place[row] / b) ** 2)
            inside = (plane >= LABELS["material"]) & (plane <= LABELS["pore"])
            shell = np.clip((1.0 - rho[inside]) * RADIUS_UM / _SHELL_UM, 0, number - 1).astype(np.int64)
            counts += np.bincount(shell * 4 + plane[inside], minlength=4 * number).reshape(number, 4)
        total = counts.sum(axis=1)
        return {
            "name": self.name,
            "crack_fraction": float(counts[:, LABELS["crack"]].sum() / total.sum()),
            "pore_fraction": float(counts[:, LABELS["pore"]].sum() / total.sum()),
            "volume_um3": float(total.sum() * pitch**3),
            "shell_um": _SHELL_UM,
            "crack_fraction_by_depth": [float(v) for v in counts[:, LABELS["crack"]] / np.maximum(total, 1)],
            "pore_fraction_by_depth": [float(v) for v in counts[:, LABELS["pore"]] / np.maximum(total, 1)],
            "envelope_semi_axes_um": list(self.envelope.semi_axes),
            "cracks": [
                {"centre_um": crack.centre, "width_nm": 2e3 * crack.semi_axes[2], "length_um": 2 * crack.semi_axes[0]}
                for crack in self.cracks
            ],
            "nickel_valence": {
                "standards": {standard.name: asdict(standard) for standard in NICKEL},
                "polynomial_in_r2": list(self.aggregate.polynomial),
                "radius_um": RADIUS_UM,
                "crack_skin_um": CRACK_SKIN_UM,
                "crack_skin": CRACK_VALENCE,
                "domains": [
                    {"centre_um": d.body.centre, "radius_um": d.body.semi_axes[0], "valence": d.valence}
                    for d in self.domains
                ],
            },
            "fiducials_um": [gold.centre for gold in self.fiducials],
            "materials": {
                "matrix": [NMC622.formula, MATRIX_G_CM3],
                "grain_added": [NMC622.formula, GRAIN_G_CM3],
                "capillary": [GLASS.formula, GLASS.density_g_cm3],
                "fiducial": [GOLD.formula, GOLD.density_g_cm3],
            },
        }


def _draw_cracks(rng: np.random.Generator) -> tuple[TiltedEllipsoid, ...]:
    """Cracks that share the centre; each opens to its full width half way out."""
    cracks = []
    for _ in range(int(rng.integers(9, 13))):
        along = _direction(rng)
        half = float(rng.uniform(0.40, 0.54)) * RADIUS_UM
        semi = (half, float(rng.uniform(0.7, 1.5)), 0.5 * float(rng.uniform(0.10, 0.30)))
        cracks.append(_ellipsoid(0.92 * half * along, semi, along, float(rng.uniform(0.0, math.pi))))
    return tuple(cracks)


def _draw_domains(rng: np.random.Generator) -> tuple[Region, ...]:
    """Spheres within the particle, clear of each other, each with a valence."""
    kept: list[Region] = []
    while len(kept) < _DOMAINS:
        radius = float(rng.uniform(0.25, 0.6))
        centre = _direction(rng) * (RADIUS_UM - radius) * float(rng.uniform(0.0, 1.0)) ** (1 / 3)
        valence = float(rng.uniform(*DOMAIN_VALENCES))
        if all(math.dist(one.body.centre, centre) > one.body.semi_axes[0] + radius for one in kept):
            kept.append(Region(TiltedEllipsoid(_vector(centre), (radius, radius, radius), _UPRIGHT), valence))
    return tuple(kept)


def _draw_grains(
    rng: np.random.Generator, envelope: TiltedEllipsoid, voids: tuple[TiltedEllipsoid, ...], wanted: int
) -> tuple[TiltedEllipsoid, ...]:
    """Grains with their long axis outwards, clear of each other, of voids and of the surface."""
    skin = rng.normal(size=(40, 3))
    skin /= np.linalg.norm(skin, axis=1)[:, None]
    kept: list[TiltedEllipsoid] = []
    points = np.empty((0, 3))
    for _ in range(20 * wanted):
        along = _direction(rng)
        semi = (float(rng.uniform(0.30, 0.5)), float(rng.uniform(0.13, 0.22)), float(rng.uniform(0.13, 0.22)))
        centre = along * RADIUS_UM * float(rng.uniform(0.1, 1.0)) ** (1 / 3)
        grain = _ellipsoid(centre, semi, along, float(rng.uniform(0.0, math.pi)))
        surface = centre + (skin * semi) @ np.asarray(grain.directions)
        probe = np.concatenate([centre[None], surface, 0.5 * (centre + surface)])
        if not envelope.contains(probe).all() or any(void.contains(probe).any() for void in voids):
            continue
        if len(points) and grain.contains(points).any():
            continue
        near = [one for one in kept if math.dist(one.centre, grain.centre) < 1.0]
        if any(one.contains(probe).any() for one in near):
            continue
        kept.append(grain)
        points = np.concatenate([points, surface])
        if len(kept) == wanted:
            break
    return tuple(kept)


@lru_cache(maxsize=4)
def ncm_particle(*, cycled: bool, seed: int = 11, fiducials: bool = False) -> NcmParticle:
    """Draw a particle.

    Parameters
    ----------
    cycled
        With cracks, or as synthesised.
    seed
        The same seed gives the same envelope, pores and surface with and without cracks.
    fiducials
        With gold spheres on the surface.
    """
    rng = np.random.default_rng([seed, 622])
    axes = RADIUS_UM * (1.0 + 0.015 * np.clip(rng.normal(size=3), -2.0, 2.0))
    envelope = TiltedEllipsoid((0.0, 0.0, 0.0), _vector(axes), _UPRIGHT)
    rough: list[TiltedEllipsoid] = []
    while len(rough) < 90:
        along = _direction(rng)
        if along[1] < -0.85:  # the tip's place
            continue
        out = along * float(rng.uniform(0.90, 0.96)) / np.linalg.norm(along / axes)
        semi = (float(rng.uniform(0.35, 0.5)), float(rng.uniform(0.3, 0.6)), float(rng.uniform(0.3, 0.6)))
        rough.append(_ellipsoid(out, semi, along, float(rng.uniform(0.0, math.pi))))
    pores = []
    for _ in range(150):
        along = _direction(rng)
        centre = along * 0.9 * RADIUS_UM * float(rng.uniform(0.0, 1.0)) ** (1 / 3)
        a, b, c = (float(value) for value in rng.uniform(0.06, 0.26, 3))
        pores.append(_ellipsoid(centre, (a, b, c), _direction(rng), 0.0))
    gold_rng, crack_rng, grain_rng = (np.random.default_rng([seed, 622, part]) for part in (1, 2, 3))
    domains = _draw_domains(np.random.default_rng([seed, 622, 4])) if cycled else ()
    cracks = _draw_cracks(crack_rng) if cycled else ()
    inside = _draw_grains(grain_rng, envelope, (*cracks, *pores), 260)
    golds: list[Ellipsoid] = []
    while fiducials and len(golds) < 12:
        along = _direction(gold_rng)
        radius = float(gold_rng.uniform(0.10, 0.15))
        # on the outermost of what the direction meets
        steps = np.linspace(0.9, 1.3, 400)[:, None] * along * RADIUS_UM
        outermost = np.flatnonzero(np.any([solid.contains(steps) for solid in (envelope, *rough)], axis=0))[-1]
        centre = steps[outermost] + along * 1.15 * radius
        ball = centre + radius * np.concatenate([np.eye(3), -np.eye(3)])
        if abs(along[1]) < 0.8 and not any(solid.contains(ball).any() for solid in (envelope, *rough)):
            golds.append(sphere(_vector(centre), radius))
    name = f"ncm-{'cycled' if cycled else 'pristine'}{'+fiducials' if fiducials else ''}:{seed}"
    return NcmParticle(name, envelope, tuple(rough), inside, cracks, tuple(pores), tuple(golds), domains)

"""Normalisation and E0 of measured standards beside Larch."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import numpy as np
import pytest

from exitwave.analysis.io import read_columns
from exitwave.analysis.xanes import Normalisation, find_e0

FILES = (
    "Ni_metal_rt_01.xdi",
    "NiOH2_rt_01.xdi",
    "Ni2O3_rt_01.xdi",
    "Fe_metal_rt_01.xdi",
    "FeO_rt_01.xdi",
    "Fe2O3_rt_01.xdi",
    "Fe3O4_rt_01.xdi",
)


@pytest.mark.realdata
@pytest.mark.skipif(importlib.util.find_spec("larch") is None, reason="xraylarch is not installed (extra: bench)")
@pytest.mark.filterwarnings("default")  # Larch's own imports warn
@pytest.mark.parametrize("name", FILES)
def test_standards_beside_larch(realdata: Path, name: str) -> None:
    from larch import Group
    from larch.xafs import pre_edge

    table = read_columns(realdata / "xas" / name)
    e, mu = table.column("energy"), np.log(table.column("i0") / table.column("itrans"))
    theirs = Group(energy=e, mu=mu)
    pre_edge(theirs)
    near = (e > theirs.e0 - 20) & (e < theirs.e0 + 20)
    step = float(np.diff(e[near]).max())
    ours = find_e0(e, mu)
    assert abs(ours - theirs.e0) <= step
    # the same E0 and the same points: Larch takes those from the last at or below a range's low end to, not
    # including, the nearest to its high end
    details = theirs.pre_edge_details
    ends = []
    for low, high in ((details.pre1, details.pre2), (details.norm1, details.norm2)):
        first = max(int(np.searchsorted(e, theirs.e0 + low, side="right")) - 1, 0)
        last = int(np.argmin(np.abs(e - theirs.e0 - high))) - 1
        ends.append((float(e[first] - theirs.e0), float(e[last] - theirs.e0)))
    normalisation = Normalisation(e, theirs.e0, ends[0], ends[1], order=details.nnorm)
    norm, height = normalisation.spectrum(mu)
    assert height == pytest.approx(theirs.edge_step, rel=1e-5)
    assert np.abs(norm - theirs.norm).max() < 1e-4
    # and with the ranges chosen here, from E0 found here, across the near edge
    own, height = Normalisation(e, ours).spectrum(mu)
    assert height == pytest.approx(theirs.edge_step, rel=0.01)
    assert np.abs(own - theirs.norm)[np.abs(e - theirs.e0) < 100].max() < 0.01

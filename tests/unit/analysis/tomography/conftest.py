"""Fixtures of the tomography tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


def _beside(name: str) -> ModuleType:
    """Module of helpers that lies beside the tests."""
    spec = importlib.util.spec_from_file_location(f"exitwave_test_{name}", Path(__file__).with_name(f"{name}.py"))
    if spec is None or spec.loader is None:
        pytest.fail(f"{name}.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def ellipses() -> ModuleType:
    """Sections and projections of ellipses in closed form, beside the tests."""
    return _beside("ellipses")


@pytest.fixture(scope="session")
def particles() -> ModuleType:
    """Exact projections of particles with the simulator's bodies, and the beamline's counts."""
    return _beside("particles")

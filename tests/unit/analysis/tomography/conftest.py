"""Fixtures of the tomography tests."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def ellipses() -> ModuleType:
    """Sections and projections of ellipses in closed form, beside the tests."""
    name = "exitwave_test_ellipses"
    spec = importlib.util.spec_from_file_location(name, Path(__file__).with_name("ellipses.py"))
    if spec is None or spec.loader is None:
        pytest.fail("ellipses.py is missing")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module

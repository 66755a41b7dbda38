"""Scenes of the XANES tests."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest


@pytest.fixture(scope="session")
def scene() -> ModuleType:
    spec = importlib.util.spec_from_file_location("exitwave_test_xanes_scene", Path(__file__).with_name("scene.py"))
    if spec is None or spec.loader is None:
        pytest.fail("scene.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

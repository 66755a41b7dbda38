"""Fixtures of the analysis tests."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(20231212)


@pytest.fixture
def realdata() -> Path:
    """Folder of real measurements, or a skip that says why."""
    folder = Path(os.environ.get("EXITWAVE_REALDATA", REPOSITORY.parent / "shared" / "data"))
    if not folder.is_dir():
        pytest.skip(f"no real measurements in {folder}: set EXITWAVE_REALDATA")
    return folder


@pytest.fixture(scope="session")
def scenes() -> ModuleType:
    """Scenes with known answers, beside the tests."""
    spec = importlib.util.spec_from_file_location("exitwave_test_scenes", Path(__file__).with_name("scenes.py"))
    if spec is None or spec.loader is None:
        pytest.fail("scenes.py is missing")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module

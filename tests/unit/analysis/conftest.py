"""Fixtures of the analysis tests."""

from __future__ import annotations

import os
from pathlib import Path

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

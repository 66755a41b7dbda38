"""Real spectra, or a skip that says why."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[4]


@pytest.fixture
def eds_data() -> Path:
    folder = Path(os.environ.get("EXITWAVE_REALDATA", REPOSITORY.parent / "shared" / "data")) / "eds"
    if not folder.is_dir():
        pytest.skip(f"no real spectra in {folder}: set EXITWAVE_REALDATA")
    return folder

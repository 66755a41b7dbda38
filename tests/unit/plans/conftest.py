"""Fixtures of the plans' tests."""

from __future__ import annotations

from typing import Any

import pytest

from .xanes_instrument import txm


@pytest.fixture
def instrument() -> Any:
    """Return a TXM without a server."""
    return txm()

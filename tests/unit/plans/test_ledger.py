"""The audit's counts, from what a file says of its frames."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from exitwave.plans.ct._common import Ledger


@given(st.integers(1, 60), st.sets(st.integers(0, 59)), st.sets(st.integers(0, 59)), st.integers(0, 1000))
def test_every_loss_is_found_where_it_happened(num: int, to_driver: set[int], to_file: set[int], before: int) -> None:
    asked = np.arange(num, dtype=np.float64) * 3.0
    # A trigger that the driver missed leaves no number; a frame that the file missed leaves a gap in the numbers.
    delivered = [k for k in range(num) if k not in to_driver]
    numbers = {k: before + 1 + i for i, k in enumerate(delivered)}
    there = [k for k in delivered if k not in to_file]
    ledger = Ledger(asked, 1.3)
    ledger.add(
        num,
        len(delivered),
        np.array([float(numbers[k]) for k in there]),
        np.asarray(asked[there] + 0.01, np.float64),
        before,
    )
    assert (ledger.triggered, ledger.acquired, ledger.written) == (num, len(delivered), len(there))
    assert set(ledger.missing.tolist()) == set(range(num)) - set(there)
    assert ledger.lost_numbers == [i for i, k in enumerate(delivered) if k in to_file]


def test_a_retake_fills_a_gap_and_counts_as_a_trigger() -> None:
    ledger = Ledger(np.array([0.0, 10.0, 20.0]), 4.5)
    ledger.add(3, 3, np.array([1.0, 3.0]), np.array([0.0, 20.0]), 0)
    assert ledger.missing.tolist() == [1]
    ledger.add(1, 1, np.array([4.0]), np.array([10.0]), 3)
    assert ledger.missing.tolist() == []
    assert (ledger.triggered, ledger.written, ledger.lost_numbers) == (4, 3, [1])

"""Blocks of work over threads: all of them once, errors passed on, none waiting for itself."""

from __future__ import annotations

import numpy as np
import pytest

from exitwave.analysis.compiled import over_blocks


def test_every_index_is_in_one_block() -> None:
    seen = np.zeros(103, np.intp)

    def work(start: int, stop: int) -> None:
        seen[start:stop] += 1

    over_blocks(work, 103, 10)
    assert (seen == 1).all()


@pytest.mark.timeout(20)
def test_blocks_within_blocks_end() -> None:
    seen = np.zeros((40, 40), np.intp)

    def rows(first: int, last: int) -> None:
        def cells(start: int, stop: int) -> None:
            seen[first:last, start:stop] += 1

        over_blocks(cells, 40, 3)

    over_blocks(rows, 40, 1)
    assert (seen == 1).all()


def test_the_first_error_is_raised_after_all_blocks_have_ended() -> None:
    done = []

    def work(start: int, stop: int) -> None:
        done.append(start)
        if start == 4:
            raise ValueError("block 4")

    with pytest.raises(ValueError, match="block 4"):
        over_blocks(work, 12, 2)
    assert sorted(done) == [0, 2, 4, 6, 8, 10]

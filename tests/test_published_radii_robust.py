"""The published network with most robustness as the oracle: both protocols on sixteen images, beside the CSV."""

from __future__ import annotations

import pytest

from helpers.published_radii import check_beside_the_benchmark


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["attack", "btr"])
def test_both_protocols_find_what_the_benchmark_found(real_data, kind):
    check_beside_the_benchmark(real_data, "all", kind)

"""The published network with most robustness as the oracle: attacks on its decision, beside the CSV."""

from __future__ import annotations

import pytest

from helpers.published_radii import check_beside_the_benchmark


@pytest.mark.slow
def test_both_protocols_find_what_the_benchmark_found(real_data):
    check_beside_the_benchmark(real_data, "all", "attack")

"""A server killed while people draw: what it acknowledged is kept, and the database is whole."""

import pytest

from helpers.annotate_killed import kill_and_check

KILLS = 4  # a hundred: benchmarks/annotation_killed.py


@pytest.mark.slow
def test_a_server_killed_at_random_moments_loses_nothing(source, tmp_path):
    counts = kill_and_check(source, tmp_path, KILLS)
    assert counts["strokes"] > KILLS
    assert counts["sent again"] >= 1  # they did meet dead servers

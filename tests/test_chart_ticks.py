"""Labels of an axis never run into each other, whatever the numbers."""

from __future__ import annotations

from itertools import pairwise

import pytest

from pellucid.report.charts.drawing import canvas


@pytest.mark.parametrize("right", [0.002, 0.003, 0.004, 0.005, 0.006, 0.01, 0.02, 0.04])
def test_tick_labels_stay_apart(right: float) -> None:
    with canvas(1.6) as (figure, (axes,)):
        axes.plot([0, right / 3, right], [0.92, 0.88, 0.85])
        figure.draw_without_rendering()
        boxes = sorted(
            (label.get_window_extent() for label in axes.get_xticklabels() if label.get_text()), key=lambda b: b.x0
        )
    drawn = [b for b in boxes if axes.bbox.x0 - 2 <= (b.x0 + b.x1) / 2 <= axes.bbox.x1 + 2]
    assert len(drawn) >= 3
    assert all(left.x1 < other.x0 for left, other in pairwise(drawn))

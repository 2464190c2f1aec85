"""Which methods of explanation fit which networks."""

from __future__ import annotations

from pellucid.explainers import EXPLAINERS, HEATMAPS

ON_CONVOLUTIONS = [name for name, entry in EXPLAINERS.items() if "nchw" in entry.layouts or not entry.layouts]
"""The methods that explain a convolutional network."""
HEATMAPS_ON_CONVOLUTIONS = [name for name in ON_CONVOLUTIONS if name in HEATMAPS]

"""Charts with nothing in them: they take half of a small study's time."""

from __future__ import annotations

from contextlib import contextmanager
from unittest.mock import patch

from matplotlib.figure import Figure


@contextmanager
def empty_charts():
    """SVG charts are not drawn meanwhile; what is put around them, such as their names, is."""
    real = Figure.savefig

    def save(figure, target, **options):
        if options.get("format") == "svg":
            target.write('<svg viewBox="0 0 300 200"></svg>')
        else:
            real(figure, target, **options)

    with patch.object(Figure, "savefig", save):
        yield

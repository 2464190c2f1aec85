"""From an image file to pixels: formats, orientation, limits, and what was assumed."""

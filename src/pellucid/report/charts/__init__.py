"""Charts as SVG whose text is text."""

"""Rows of a study as tables that people read."""

"""A study's report: `write_report(results, panels, out)` → one HTML file, the tables as CSV and JSON."""

from __future__ import annotations

from pellucid.report.pages.study import render, write_report
from pellucid.report.pictures.panels import Panel

__all__ = ["Panel", "render", "write_report"]

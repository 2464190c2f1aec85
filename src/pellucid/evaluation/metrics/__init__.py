"""Figures with their intervals: classification, localisation, scores of heat maps, comparisons."""

"""How large a perturbation a network withstands: radii, areas, certificates."""

"""`pellucid data`: datasets listed, opened, checked, downloaded and decoded."""

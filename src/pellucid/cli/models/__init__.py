"""`pellucid models`: which networks there are, what one is, and bringing one that was trained elsewhere."""

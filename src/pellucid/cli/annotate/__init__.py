"""`pellucid annotate`: people mark what a network should look at and what not; their marks as files."""

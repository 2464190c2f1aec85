"""Is a dataset whole, readable and without leaks?"""

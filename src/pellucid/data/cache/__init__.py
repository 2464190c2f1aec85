"""Pixels decoded once: in memory, memory-mapped, or in shards; every block with its digest."""

"""The annotation server and its page: a network explains itself, people mark what it should not look at."""

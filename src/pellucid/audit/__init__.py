"""One given classifier → one report: what it is, what holds and what does not, in plain words and in figures."""

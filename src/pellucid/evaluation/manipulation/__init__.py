"""Attacks on explanations: what they want, how they climb, how they are judged."""

"""The annotation loop as a study: a network cheats, is marked, is trained again, is measured."""

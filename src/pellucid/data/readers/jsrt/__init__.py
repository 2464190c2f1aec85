"""JSRT: films, outlines and the table of nodules."""

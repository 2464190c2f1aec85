"""JSRT: raw films and the table of nodules."""

"""How the annotation database's tables came to be, one step per file; alembic takes an older database up to date."""

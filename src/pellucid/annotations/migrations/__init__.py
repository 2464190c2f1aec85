"""The annotation database's tables as they came to be, one step a file; alembic takes an older database up to date."""

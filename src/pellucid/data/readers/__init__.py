"""One reader per dataset or layout: from files on disk to datasets whose pixels are read when asked for."""

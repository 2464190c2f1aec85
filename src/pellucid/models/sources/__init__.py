"""Where weights come from: published files, packages, downloads."""

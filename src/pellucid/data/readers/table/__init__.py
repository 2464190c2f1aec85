"""A table of one's own: columns, targets, files, parts and boxes."""

"""The benchmark of discover: networks whose shortcut is known."""

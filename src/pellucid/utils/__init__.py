"""What all packages share: files, settings, progress, downloads, locks, digests, and the one store of results."""

"""What `explain` is made of: the classes it explains, heat maps, moved images, its result, DICOM objects."""

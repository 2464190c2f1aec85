"""What `pellucid explain` is made of: the classes it explains, heat maps, adversarial images, DICOM objects."""

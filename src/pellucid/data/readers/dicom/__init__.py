"""A folder of DICOM files and a table of their labels."""

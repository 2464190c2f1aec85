"""One DICOM file: header, stored bits, values, pixels."""

"""Explanations as DICOM objects beside the radiograph."""

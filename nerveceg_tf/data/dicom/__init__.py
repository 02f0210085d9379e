"""DICOM: what a file contains, and its frames as a viewer shows them."""

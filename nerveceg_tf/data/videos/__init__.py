"""Videos: every container that OpenCV decodes."""

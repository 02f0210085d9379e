"""Volumes: MetaImage and NIfTI."""

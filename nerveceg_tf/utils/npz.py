"""What NumPy raises for a damaged `.npz`, which is a ZIP file of arrays."""

import zipfile
import zlib

DAMAGED_NPZ = (
    *(OSError, EOFError, ValueError, KeyError),
    *(zipfile.BadZipFile, zlib.error, NotImplementedError),
)
"""For `except`. `NotImplementedError` is that of a compression that `zipfile` does not know."""

"""The type of a size, for modules that must not import NumPy and OpenCV."""

Size = tuple[int, int]
"""Height and width in pixels."""

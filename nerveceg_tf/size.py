"""How a size is written, for what must start without NumPy and OpenCV."""

Size = tuple[int, int]
"""Height and width in pixels."""

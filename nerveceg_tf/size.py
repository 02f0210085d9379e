"""Sizes of frames. Needs neither NumPy nor OpenCV."""

Size = tuple[int, int]
"""Height and width in pixels."""


def format_size(size: Size) -> str:
    """Formats a size (height, width) as `WIDTHxHEIGHT`."""
    return f"{size[1]}x{size[0]}"

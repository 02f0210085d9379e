"""What counts as a black border of a frame, in models and for training frames."""

BLACK = 8
"""The largest gray value that counts as black. The noise of JPEG around black is below."""

SHARE = 50
"""One of so many pixels of a row or column must be brighter, or it may be border."""

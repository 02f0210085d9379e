"""Pictures: TIFF with one or more pages, PNG, JPEG, BMP and WebP; frames and masks."""

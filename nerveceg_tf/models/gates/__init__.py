"""Gates: networks that say whether a frame holds a nerve."""

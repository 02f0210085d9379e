"""Gates: networks that predict whether a frame contains a nerve."""

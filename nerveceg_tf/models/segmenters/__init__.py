"""Segmenters: networks that predict the mask of the nerve."""

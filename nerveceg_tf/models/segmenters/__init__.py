"""Segmenters: networks that outline the nerve."""

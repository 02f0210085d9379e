"""The audit of a data folder: its findings, a page that shows them, and suggested fixes."""

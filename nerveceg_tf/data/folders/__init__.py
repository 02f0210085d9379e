"""Data folders: layouts, names, tables, and which mask belongs to which frame."""

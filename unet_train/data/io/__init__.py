"""Pixels and mask encodings in and out: the only place that reads or writes image files."""

"""What `make bench` measures: one file per row, each with `TITLE`, `ABOUT` and its `CASES` (name → measuring function)."""

"""What `make bench` measures: a file per row, each with `TITLE`, `ABOUT` and its `CASES` (name → function)."""

"""One command's work each, from a checked config to files; what `commands` and `api` call."""

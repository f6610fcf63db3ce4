"""`unet-export`: a trained model in a format that others run."""

from __future__ import annotations

from unet_train.commands import shell


def main() -> None:
    """Entry point of the console script."""
    shell.main("export", export)


def export(arguments: shell.Arguments) -> int:
    """Compose, check, export; the exit code."""
    raise NotImplementedError


if __name__ == "__main__":
    main()

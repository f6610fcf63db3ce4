"""`unet-runs`: many runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

from unet_train.commands import shell
from unet_train.config.checks import expand
from unet_train.config.compose import compose_command
from unet_train.config.schema import RunsConfig
from unet_train.keys import schema_fields

DEFAULT = "runs"
"""Where unet-train puts runs."""


def main() -> None:
    """Entry point of the console script."""
    shell.main("runs", runs)


def runs(arguments: shell.Arguments) -> int:
    """Do what the first word says; the exit code."""
    from unet_train.runs.run_tables import best, compare, list_runs

    shell.refuse_sweeps(arguments, "runs")
    actions = {"list": list_runs, "compare": compare, "best": best}
    words = arguments.overrides
    action = shell.action(arguments, "runs", list(actions))
    keys, folders = apart(words[1:])
    config = compose_command("runs", keys, arguments.config_dir).config
    print(actions[action]([expand(name) for name in folders or [DEFAULT]], config))
    return 0


def apart(words: Sequence[str]) -> tuple[list[str], list[str]]:
    """Keys, and folders, which may have ``=`` in their names as those of a sweep do."""
    keys = [
        word
        for word in words
        if "=" in word
        and (word.partition("=")[0] in schema_fields(RunsConfig) or not expand(word).exists())
        and "/" not in word.partition("=")[0]
    ]
    return keys, [word for word in words if word not in keys]


if __name__ == "__main__":
    main()

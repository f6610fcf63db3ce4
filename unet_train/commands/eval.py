"""`unet-eval`: a checkpoint measured per class."""

from __future__ import annotations

from unet_train.commands import shell
from unet_train.config.checks import check_dataset, check_output, check_own_encoder, find_checkpoint
from unet_train.config.command_line import split_partial
from unet_train.config.compose import compose_command
from unet_train.config.folds import holds_folds, with_folds


def main() -> None:
    """Entry point of the console script."""
    shell.main("eval", evaluate)


def evaluate(arguments: shell.Arguments) -> int:
    """Compose, check, evaluate; the exit code."""
    shell.refuse_sweeps(arguments, "eval")
    overrides, partial = split_partial(arguments.overrides, ("dataset", "split"))
    composed = compose_command("eval", overrides, arguments.config_dir)
    for name in with_folds([composed.config.ckpt]):
        find_checkpoint(name)
    check_own_encoder(composed.config.encoder)
    check_output(composed.config.output)
    if composed.config.dataset is not None:
        check_dataset(composed.config.dataset)
    shell.tell_loading()
    if holds_folds(composed.config.ckpt):
        from unet_train.runs.folds import eval_folds

        eval_folds(composed.config, partial, arguments.raw)
        return 0
    from unet_train.runs.evaluation import eval_run

    eval_run(composed.config, partial, arguments.raw)
    return 0


if __name__ == "__main__":
    main()

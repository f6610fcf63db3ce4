"""`unet-eval`: a checkpoint, or masks that are there already, measured per class."""

from __future__ import annotations

from unet_train.commands import shell
from unet_train.config.checks import check_dataset, check_judged, check_output, check_own_encoder
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
    ckpt, names = composed.config.ckpt, with_folds([composed.config.ckpt] if composed.config.ckpt else [])
    check_judged(names, composed.config.predictions, composed.config.dataset)
    check_own_encoder(composed.config.encoder)
    check_output(composed.config.output)
    if composed.config.dataset is not None:
        check_dataset(composed.config.dataset)
    shell.tell_loading()
    if ckpt is not None and holds_folds(ckpt):
        from unet_train.runs.folds import eval_folds

        eval_folds(composed.config, partial, arguments.raw)
        return 0
    from unet_train.runs.evaluation import eval_run

    metrics = eval_run(composed.config, partial, arguments.raw)
    return 1 if metrics.get("missing") else 0


if __name__ == "__main__":
    main()

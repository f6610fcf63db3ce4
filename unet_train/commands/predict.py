"""`unet-predict`: masks for new images."""

from __future__ import annotations

from unet_train.commands import shell
from unet_train.config.compose import compose_command
from unet_train.config.early import expand, find_checkpoint
from unet_train.errors import UserError


def main() -> None:
    """Entry point of the console script."""
    shell.main("predict", predict)


def predict(arguments: shell.Arguments) -> int:
    """Compose, check, predict; the exit code."""
    shell.refuse_sweeps(arguments, "predict")
    composed = compose_command("predict", shell.allow_own_encoder(arguments.overrides), arguments.config_dir)
    config = composed.config
    for name in [config.ckpt] if isinstance(config.ckpt, str) else config.ckpt or []:
        find_checkpoint(str(name))
    if expand(config.output).is_file():
        raise UserError(f"output={config.output}: a file stands there; name a folder")
    from unet_train.runs.prediction import find_inputs, predict_run

    find_inputs(config.input)
    return predict_run(config)


if __name__ == "__main__":
    main()

"""`unet-predict`: masks for new images."""

from __future__ import annotations

import signal
import sys

from unet_train.commands import shell
from unet_train.config.compose import compose_command
from unet_train.runs.prediction_inputs import check_predict


def main() -> None:
    """Entry point of the console script."""
    # Leaving through Python's own way removes the file that is being written.
    signal.signal(signal.SIGTERM, lambda number, _: sys.exit(128 + number))
    shell.main("predict", predict)


def predict(arguments: shell.Arguments) -> int:
    """Compose, check, predict; the exit code."""
    shell.refuse_sweeps(arguments, "predict")
    composed = compose_command("predict", arguments.overrides, arguments.config_dir)
    check_predict(composed.config)
    shell.tell_loading()
    from unet_train.runs.prediction import predict_run

    return 1 if predict_run(composed.config).bad else 0


if __name__ == "__main__":
    main()

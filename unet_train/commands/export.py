"""`unet-export`: a trained model as a file that other programs run."""

from __future__ import annotations

import importlib.util
import sys

from unet_train.commands import shell
from unet_train.config.checks import check_output, check_own_encoder, check_whole_model
from unet_train.config.compose import compose_command
from unet_train.config.schema import ExportConfig
from unet_train.errors import UserError

NEEDED = ("onnx", "onnxscript", "onnxruntime")


def main() -> None:
    """Entry point of the console script."""
    shell.main("export", export)


def export(arguments: shell.Arguments) -> int:
    """Compose, check, export; the exit code."""
    shell.refuse_sweeps(arguments, "export")
    config: ExportConfig = compose_command("export", arguments.overrides, arguments.config_dir).config
    check_whole_model([config.ckpt] if config.ckpt else [], config.weights)
    check_output(config.output)
    check_own_encoder(config.encoder)
    missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
    if config.format == "onnx" and missing:
        raise UserError(f"format=onnx needs {', '.join(missing)}: pip install 'unet-train[export]'")
    shell.tell_loading()
    from unet_train.runs.export import WrongFile, export_run

    try:
        export_run(config)
    except WrongFile as error:
        print(f"unet-export: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    main()

"""What all commands share: flags, help, exit codes, one line for an error."""

from __future__ import annotations

import contextlib
import io
import logging
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unet_train import __version__
from unet_train.errors import UserError, in_terms_of, one_line


@dataclass
class Arguments:
    """A command line taken apart: overrides ``key=value`` and the few flags."""

    overrides: list[str]
    config_dir: str | None = None
    multirun: bool = False
    hydra_flags: bool = False
    raw: Sequence[str] = ()


def parse(argv: Sequence[str]) -> Arguments:
    """Take flags and overrides apart; flags of Hydra's own (``--cfg``, ``--info``) are only noted.

    Raises
    ------
    UserError
        For an unknown flag.
    """
    found = Arguments([], raw=list(argv))
    items = iter(argv)
    for item in items:
        if item in ("-m", "--multirun"):
            found.multirun = True
        elif item in ("-cd", "--config-dir"):
            found.config_dir = next(items, None)
            if found.config_dir is None:
                raise UserError(f"{item} needs a folder")
        elif item.startswith("--config-dir="):
            found.config_dir = item.partition("=")[2]
        elif item in ("-c", "--cfg", "-i", "--info", "-p", "--package"):
            found.hydra_flags = True
            next(items, None)
        elif item in ("--resolve", "--hydra-help") or item.startswith(("--cfg=", "--info=")):
            found.hydra_flags = True
        elif item.startswith("-") and "=" not in item.lstrip("-").partition(".")[0]:
            raise UserError(f"{item}: no such option; keys are set as key=value (see --help)")
        else:
            found.overrides.append(item)
    return found


def main(command: str, body: Callable[[Arguments], int | None], argv: Sequence[str] | None = None) -> None:
    """Run a command's body and leave with its exit code; a `UserError` becomes one line and code 2."""
    sys.exit(run(command, body, list(sys.argv[1:] if argv is None else argv)))


def run(command: str, body: Callable[[Arguments], int | None], argv: Sequence[str]) -> int:
    """`main` without leaving: the exit code."""
    if any(item in ("-h", "--help") for item in argv):
        return show_help(command, [item for item in argv if item not in ("-h", "--help")])
    if argv[:1] == ["--complete"]:
        return complete(command, argv[1:])
    if argv[:1] == ["--completion"] or any(item.startswith("--completion=") for item in argv[:1]):
        return show_completion(command, argv)
    if "--version" in argv:
        print(f"unet-train {__version__}")
        return 0
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(
            errors="backslashreplace"
        )  # names of files that are no text, as stderr has them
    logging.getLogger("tifffile").setLevel(logging.CRITICAL)  # of a damaged file our line is enough
    # A class of the user's own (`_target_`) is found in the working folder, as `python` itself would; last, so that
    # no file there hides a library. A console script starts without it.
    if os.getcwd() not in sys.path:
        sys.path.append(os.getcwd())
    try:
        return body(parse(argv)) or 0
    except UserError as error:
        return fail(command, str(error))
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        return 130
    except BrokenPipeError:
        # The reader went away (`unet-eval … | head`): nothing more to say, not even at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1


def show_help(command: str, argv: Sequence[str]) -> int:
    """Print the help page, with the choices of ``--config-dir`` and of the words beside it; the exit code."""
    from unet_train.config.help import help_page

    folders, words = own_folders(argv)
    try:
        print(help_page(command, folders, words), end="")
    except UserError as error:
        return fail(command, str(error))
    return 0


def own_folders(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The folders of ``--config-dir`` and the overrides, as far as they can be told from each other."""
    with contextlib.suppress(UserError):  # whatever else is typed beside --help, or half a word
        found = parse(argv)
        return [Path(found.config_dir)] if found.config_dir else [], found.overrides
    return [], [word for word in argv if not word.startswith("-")]


def show_completion(command: str, argv: Sequence[str]) -> int:
    """Print the script that makes a shell complete our words; the exit code."""
    from unet_train.config.completion import script

    shell = " ".join(argv).removeprefix("--completion").lstrip("= ")
    try:
        print(script(shell), end="")
    except UserError as error:
        return fail(command, str(error))
    return 0


def complete(command: str, argv: Sequence[str]) -> int:
    """Print what the word after ``--`` may become, one a line, for the scripts of `show_completion`; the exit code."""
    from unet_train.config.completion import candidates

    place = argv.index("--") if "--" in argv else len(argv)
    folders, words = own_folders(argv[:place])
    print("\n".join(candidates(command, words, " ".join(argv[place + 1 :]), folders)))
    return 0


def fail(command: str, message: str) -> int:
    """Say what is wrong in one line on the error stream; exit code 2."""
    print(f"unet-{command}: {in_terms_of(command, one_line(message))}", file=sys.stderr)
    return 2


def relative(path: Path | str) -> str:
    """A path as short as it can be said from here."""
    text = os.path.relpath(path)
    return text if not text.startswith("..") else str(path)


def hydra_main(command: str, task: Callable[[Any], Any], argv: Sequence[str]) -> None:
    """Hand the command line to Hydra itself: sweeps, launchers, ``--cfg``, ``--info``.

    Raises
    ------
    UserError
        In one line for what Hydra or a job's own check refuses.
    """
    import hydra
    from hydra.errors import HydraException
    from omegaconf.errors import OmegaConfBaseException

    from unet_train.config.tree import config_folder

    os.environ["HYDRA_FULL_ERROR"] = "1"
    old, sys.argv = sys.argv, [f"unet-{command}", *argv]
    try:
        hydra.main(config_path=str(config_folder()), config_name=command, version_base="1.3")(task)()
    except (HydraException, OmegaConfBaseException) as error:
        raise UserError(str(error).split("\n")[0]) from error
    finally:
        sys.argv = old


def tell_loading() -> None:
    """Say that PyTorch is loaded, which takes seconds, unless it is there already or another process says so."""
    if "torch" not in sys.modules and os.environ.get("RANK", "0") == "0":
        print("loading PyTorch", flush=True)


def refuse_sweeps(arguments: Arguments, command: str) -> None:
    """Sweeps and Hydra's own flags belong to unet-train.

    Raises
    ------
    UserError
    """
    if arguments.multirun or arguments.hydra_flags:
        flag = next(
            word for word in arguments.raw if word.startswith("-") and word not in arguments.overrides
        )
        raise UserError(f"unet-{command} takes no {flag}; sweeps are for unet-train")


def action(arguments: Arguments, command: str, actions: Sequence[str]) -> str:
    """The first word of a command that begins with what is to be done.

    Raises
    ------
    UserError
        With the nearest of `actions` where it is none of them.
    """
    from unet_train.config.messages import near

    words = arguments.overrides
    listed = f"{', '.join(actions[:-1])} or {actions[-1]}"
    if not words:
        raise UserError(f"what is to be done? unet-{command} {listed} (see --help)")
    if words[0] in actions:
        return words[0]
    if "=" in words[0]:
        raise UserError(f"{words[0]}: what is to be done comes first: unet-{command} {listed} (see --help)")
    later = [word for word in words[1:] if word in actions]
    hint = f" (did you mean unet-{command} {later[0]}?)" if later else near(words[0], actions)
    raise UserError(f"{words[0]}: no such action{hint}; unet-{command} {listed} (see --help)")

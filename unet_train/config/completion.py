"""Shell completion: the script that a shell is given, and the words it then asks for. Without torch and Hydra.

Hydra's own completes bash and fish only, offers a key's value but not its choices, and takes a second for each Tab.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Sequence
from dataclasses import is_dataclass
from pathlib import Path
from typing import Any

import yaml

from unet_train.config.chosen import choice_file, choose
from unet_train.config.schema import COMMANDS, PATH_KEYS, SECTIONS
from unet_train.config.tree import config_folder, group_options, read_choice
from unet_train.errors import UserError
from unet_train.keys import choice_words, schema_fields

ACTIONS = {"data": ("check", "plan", "fetch", "demo"), "runs": ("list", "compare", "best")}
"""First words of the commands that have some."""

BASH = """_unet_complete() {
    local line="${COMP_LINE:0:COMP_POINT}" before
    local word="${line##* }"
    local -a words=(${line% *})
    local IFS=$'\\n'
    COMPREPLY=($("$1" --complete "${words[@]:1}" -- "$word" 2>/dev/null))
    # Bash ends a word at = and :, so what stands before these is there already.
    before="${word%"${word##*[=:]}"}"
    [[ $COMP_WORDBREAKS == *=* ]] && COMPREPLY=("${COMPREPLY[@]#"$before"}")
}
complete -o nospace -F _unet_complete COMMANDS
"""

ZSH = """_unet_complete() {
    local -a found
    found=("${(@f)$("$words[1]" --complete "${(@)words[2,CURRENT-1]}" -- "$words[CURRENT]" 2>/dev/null)}")
    compadd -S '' -Q -- $found
}
(( $+functions[compdef] )) || { autoload -U compinit && compinit }
compdef _unet_complete COMMANDS
"""

FISH = """for program in COMMANDS
    complete -c $program -f -a "(set -l w (commandline -opc); $program --complete \\$w[2..-1] -- (commandline -ct))"
end
"""

SHELLS = {"bash": BASH, "zsh": ZSH, "fish": FISH}


def script(shell: str) -> str:
    """What makes a shell complete the words of all commands; to be read when it starts.

    Raises
    ------
    UserError
        For another shell.
    """
    if shell not in SHELLS:
        raise UserError(f"--completion {shell}: choose one of {', '.join(SHELLS)}")
    return SHELLS[shell].replace("COMMANDS", " ".join(f"unet-{command}" for command in COMMANDS))


def candidates(command: str, words: Sequence[str], word: str, folders: Sequence[Path] = ()) -> list[str]:
    """What a word may become.

    Parameters
    ----------
    command : str
    words : sequence of str
        Those before it; groups chosen there decide which keys there are.
    word : str
        As far as it is typed.
    folders : sequence of Path
        The user's own folders of YAML.

    Returns
    -------
    list of str
        Whole words. A section's keys are offered once its name and dot are typed.
    """
    if command in ACTIONS and not words and "=" not in word:
        return [action for action in ACTIONS[command] if action.startswith(word)]
    name, equals, value = word.partition("=")
    groups, values = _words(command, words, folders)
    if not equals:
        # Sections first, lest each Tab shows two hundred keys.
        open_ = {key if "." not in key or "." in word else key.partition(".")[0] + "." for key in values}
        found = {key if key.endswith(".") else f"{key}=" for key in open_} | {f"{group}=" for group in groups}
        return sorted(item for item in found if item.startswith(word))
    if name in PATH_KEYS:
        paths = sorted(glob.glob(glob.escape(os.path.expanduser(value)) + "*"))
        return [f"{name}={path}{'/' if os.path.isdir(path) else ''}" for path in paths]
    offered = groups.get(name) or values.get(name, [])
    return [f"{name}={one}" for one in offered if one.startswith(value)]


def _words(
    command: str, words: Sequence[str], folders: Sequence[Path]
) -> tuple[dict[str, list[str]], dict[str, list[str]]]:
    """Groups with their choices, and keys with the values that can be listed."""
    root = yaml.safe_load((config_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    chosen = choose(root, folders, words)
    options = group_options(folders)
    groups = {group: options[group] for group in chosen.groups if group in options}
    values: dict[str, list[str]] = {}
    for name, (hint, field) in schema_fields(COMMANDS[command]).items():
        if name not in SECTIONS:
            values[name] = _values(hint, field)
            continue
        tag, kinds = SECTIONS[name]
        file = choice_file(name, chosen.groups.get(name), folders)
        schema = kinds.get(str(read_choice(file).get(tag, "")) if file and tag else "")
        if schema is not None and is_dataclass(schema):
            for key, (hint, field) in schema_fields(schema).items():
                if key not in ("kind", "layout", "_target_"):
                    values[f"{name}.{key}"] = _values(hint, field)
    if command == "train":
        values["hydra.run.dir"] = []
    return groups, values


def _values(hint: Any, field: Any) -> list[str]:
    """The values of a key that can be listed: its choices, or true and false."""
    listed = choice_words(field.metadata["choices"])
    return listed or (["true", "false"] if hint is bool else [])

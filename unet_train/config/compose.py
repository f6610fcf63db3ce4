"""Command line → checked config: Hydra composes the YAML groups, the schemas check every key, errors fit one line."""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.checks import find_run
from unet_train.config.schema import (
    COMMANDS,
    CUSTOM,
    PATH_KEYS,
    SECTIONS,
    mapping_keys,
)
from unet_train.errors import UserError
from unet_train.keys import REQUIRED, check_values, schema_fields
from unet_train.nearest import nearest

OPTIONAL = ("dataset", "encoder", "split", "weights")
"""Sections that may be null in commands that go by a checkpoint: then its own count."""

ENCODER_KEYS = ("decoder_channels", "input_skip")
"""Keys of the model that fit one encoder and not another."""

OTHER_NET = tuple(f"encoder.{name}=" for name in ("_target_", "name", "variant", "depth"))
"""Overrides that make it another encoder, though of the same choice."""


def config_folder() -> Path:
    """Folder of the shipped YAML: inside an installed package, beside it in a checkout."""
    package = Path(__file__).resolve().parent.parent
    inside = package / "configs"
    return inside if inside.is_dir() else package.parent / "configs"


def group_options(folders: Sequence[Path] = ()) -> dict[str, list[str]]:
    """Config groups and the names of their choices, shipped ones and those in the user's `folders`.

    A file whose name begins with ``_`` is no choice but what others of its group share.
    """
    options: dict[str, set[str]] = {}
    for folder in (config_folder(), *folders):
        for file in folder.glob("*/[!_]*.yaml"):
            options.setdefault(file.parent.name, set()).add(file.stem)
    return {group: sorted(names) for group, names in sorted(options.items())}


def read_choice(file: Path) -> dict[str, Any]:
    """The keys of a choice's YAML with those of the files of its group that it begins with."""
    content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    shared: dict[str, Any] = {}
    for entry in content.pop("defaults", []):
        if isinstance(entry, str) and entry != "_self_":
            base = file.with_name(f"{entry}.yaml")
            shared |= read_choice(base if base.is_file() else config_folder() / file.parent.name / base.name)
    return shared | content


# --- paths as typed -----------------------------------------------------------------------------------
def quote_paths(overrides: Iterable[str]) -> list[str]:
    """Quote the values of path keys, so that Hydra's grammar takes file names as they are typed.

    Hydra reads commas, brackets, quotes, spaces and ``=`` in a value as grammar. A value that is a list, or
    quoted already, is left alone unless a file of just that name exists.
    """
    return [_quote_path(override) for override in overrides]


def _quote_path(override: str) -> str:
    name, equals, value = override.partition("=")
    if not equals or name.lstrip("+") not in PATH_KEYS or value in ("", "null", "???"):
        return override
    exists = os.path.lexists(os.path.expanduser(value))
    if not exists and value[0] == value[-1] and value[0] in "'\"" and len(value) > 1:
        return override
    if not exists and name == "ckpt" and value.startswith("[") and value.endswith("]"):
        return f"{name}=[{','.join(_quoted(item.strip()) for item in value[1:-1].split(','))}]"
    return f"{name}={_quoted(value)}"


def _quoted(value: str) -> str:
    """`value` as a single-quoted string of Hydra's grammar."""
    if len(value) > 1 and value[0] == value[-1] and value[0] in "'\"":
        return value
    # A backslash escapes only where it stands before a quote, or at the end: there it is doubled.
    value = re.sub(r"(\\*)'", lambda m: m.group(1) * 2 + "\\'", value)
    value = re.sub(r"(\\+)$", lambda m: m.group(1) * 2, value)
    return f"'{value}'"


# --- what needs no plus sign -----------------------------------------------------------------------------
def open_mappings(overrides: Iterable[str]) -> list[str]:
    """Mark keys inside a user's own mapping (``dataset.target_params.width=3``) as new for Hydra.

    Hydra takes a key that the YAML does not have only with ``+`` before it; here any key may stand.
    """
    free = mapping_keys()
    opened = []
    for override in overrides:
        name, _, value = override.partition("=")
        inside = any(name.startswith(f"{mapping}.") for mapping in free)
        opened.append(f"++{override}" if inside or (name in free and value.startswith("{")) else override)
    return opened


def replace_mappings(composed: DictConfig, overrides: Iterable[str]) -> None:
    """Let ``dataset.target_params={}`` mean just that; Hydra would add what stands there to what YAML says."""
    free = mapping_keys()
    for override in overrides:
        name, _, value = override.partition("=")
        if name.lstrip("+") in free and value.startswith("{"):
            parsed = OverridesParser.create().parse_override(override).value()
            OmegaConf.update(composed, name.lstrip("+"), parsed, merge=False)


def take_own_sections(overrides: Sequence[str]) -> tuple[list[str], dict[str, dict[str, Any]]]:
    """Part ``encoder._target_=package.Class encoder.width=8`` from the rest: it replaces the whole section.

    Raises
    ------
    UserError
        For an override that cannot be read.
    """
    rest, own = list(overrides), {}
    for section in CUSTOM:
        keys = [o for o in rest if o.lstrip("+").startswith(f"{section}.")]
        chosen = any(o.partition("=")[0] == section for o in rest)
        if chosen or not any(o.lstrip("+").startswith(f"{section}._target_=") for o in keys):
            continue
        rest = [o for o in rest if o not in keys]
        tree = OmegaConf.create()
        for override in keys:
            try:
                parsed = OverridesParser.create().parse_override(override)
                OmegaConf.update(tree, parsed.key_or_group, parsed.value())
            except (HydraException, OmegaConfBaseException):
                raise UserError(f"{override}: cannot be read as key=value") from None
        own[section] = OmegaConf.to_container(tree)[section]  # type: ignore[index, call-overload]
    return rest, own  # type: ignore[return-value]


# --- near names ---------------------------------------------------------------------------------------
def near(name: str, candidates: Iterable[str]) -> str:
    """`` (did you mean …?)`` with the nearest of `candidates`, or nothing."""
    names = [n for n in candidates if n != name and n.rsplit(".", 1)[-1] not in ("kind", "layout")]
    elsewhere = [n for n in names if n.rsplit(".", 1)[-1] == name.rsplit(".", 1)[-1]]
    return nearest(name, names, cutoff=0.55) or "".join(f" (did you mean {n}?)" for n in elsewhere[:1])


def flat_keys(config: Any, prefix: str = "") -> list[str]:
    """Dotted names of all keys of a composed config."""
    if not isinstance(config, DictConfig):
        return []
    names = []
    for name in map(str, config):
        dotted = f"{prefix}{name}"
        names.append(dotted)
        node = config._get_node(name)
        if isinstance(node, DictConfig) and not node._is_none() and not node._is_missing():
            names += flat_keys(node, dotted + ".")
    return names


# --- composing ----------------------------------------------------------------------------------------
@dataclass
class Composed:
    """A checked config, the plain YAML tree it came from, and Hydra's own part."""

    config: Any
    tree: dict[str, Any]
    run_folder: str


def compose_command(command: str, overrides: Sequence[str], config_dir: str | None = None) -> Composed:
    """Compose and check the config of one command.

    Parameters
    ----------
    command
        ``train``, ``eval``, ``predict`` or ``data``: the name of the root YAML.
    overrides
        What the user typed.
    config_dir
        The user's own folder of YAML groups, searched beside ours.

    Raises
    ------
    UserError
        In one line, for anything that does not compose or does not fit the schema.
    """
    overrides, own_sections = take_own_sections(open_mappings(quote_paths(overrides)))
    own = [Path(config_dir).absolute()] if config_dir else []
    if own and not own[0].is_dir():
        raise UserError(f"--config-dir {config_dir}: no such folder")
    options = group_options(own)
    _refuse_common_slips(command, overrides, options)
    searchpath = [f"hydra.searchpath=[{_quoted('file://' + str(own[0]))}]"] if own else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            composed = compose(command, [*overrides, *searchpath], return_hydra_config=True)
            sections = sections_chosen_anew(
                command, overrides, [config_folder(), *own], searchpath, own_encoder="encoder" in own_sections
            )
        except (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
            raise UserError(_explain(command, overrides, options, searchpath, error)) from error
        with open_dict(composed):
            composed.update({**sections, **own_sections})
            replace_mappings(composed, overrides)
        HydraConfig.instance().set_config(composed)
        for section in SECTIONS:
            by_checkpoint = section in OPTIONAL and command in ("eval", "predict", "export")
            if section in composed and not isinstance(composed[section], DictConfig):
                if composed[section] is None and by_checkpoint:
                    continue
                raise UserError(_not_a_group(section, composed[section]))
        try:
            run_folder = _run_folder(composed) if command == "train" else ""
            with open_dict(composed):
                del composed["hydra"]
            OmegaConf.resolve(composed)
        except OmegaConfBaseException as error:
            raise UserError(_first_line(error)) from error
    try:
        config = typed(command, composed)
    except UserError as error:
        raise UserError(f"{error}{_from_experiment(str(error), overrides)}") from error
    return Composed(config, OmegaConf.to_container(composed), run_folder)  # type: ignore[arg-type]


def compose_train(overrides: Sequence[str], config_dir: str | None = None) -> Composed:
    """Compose a training run, or with ``resume=FOLDER`` take up the config of one.

    Raises
    ------
    UserError
        As `compose_command` and `compose_resume`.
    """
    resume = [o for o in overrides if o.partition("=")[0] == "resume" and o != "resume=null"]
    if resume:
        return compose_resume(resume[-1], [o for o in overrides if o not in resume])
    return compose_command("train", overrides, config_dir)


def compose_resume(resume: str, overrides: list[str]) -> Composed:
    """The config a run folder keeps, with single keys laid over it.

    Raises
    ------
    UserError
        For a folder without a run, or an override that is not a single key.
    """
    folder = find_run(resume.partition("=")[2].strip("'\""))
    try:
        tree = yaml.safe_load((folder / "config.yaml").read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(
            f"{folder / 'config.yaml'}: cannot be read ({' '.join(str(error).split())})"
        ) from error
    if not isinstance(tree, dict):
        raise UserError(f"{folder / 'config.yaml'}: holds no config; was it emptied?")
    for override in overrides:
        name = override.partition("=")[0]
        if name.startswith("hydra."):
            raise UserError(f"{override}: a resumed run stays in its folder; leave this out")
        if isinstance(tree.get(name), dict):
            raise UserError(f"{override}: a resumed run keeps its {name}; start a new run to change it")
    tree = lay_over(tree, overrides) | {"resume": str(folder)}
    return Composed(typed("train", tree), tree, str(folder))


def sections_chosen_anew(
    command: str,
    overrides: Sequence[str],
    folders: Sequence[Path],
    searchpath: Sequence[str] = (),
    own_encoder: bool = False,
) -> dict[str, DictConfig]:
    """Sections for which the command line chose otherwise than the recipe: without the recipe's keys.

    ``experiment=demo encoder=resnet``: the recipe's ``encoder.init_features`` and ``encoder.depth`` were meant
    for its own choice; so were the keys of the model that go by the encoder. To be called inside
    `initialize_config_dir`, or within Hydra's own job.
    """
    given = [o for o in overrides if o.startswith("experiment=")]
    files = [folder / "experiment" / f"{o.partition('=')[2]}.yaml" for o in given for folder in folders]
    recipe = next(
        (yaml.safe_load(file.read_text(encoding="utf-8")) for file in files if file.is_file()), None
    )
    if not isinstance(recipe, dict):
        return {}
    own_choice = {
        str(key).removeprefix("override").strip().lstrip("/"): value
        for item in recipe.get("defaults", [])
        if isinstance(item, dict)
        for key, value in item.items()
    }
    found = {}
    for section in SECTIONS:
        chosen = next((o for o in overrides if o.startswith(f"{section}=")), None)
        other = chosen is not None and chosen.partition("=")[2] != own_choice.get(section)
        if other and isinstance(recipe.get(section), dict) and section in own_choice:
            keys = [o for o in overrides if o.lstrip("+~").startswith(f"{section}.")]
            found[section] = compose(command, [str(chosen), *keys, *searchpath])[section]
        other_net = other or own_encoder or any(o.lstrip("+").startswith(OTHER_NET) for o in overrides)
        if (
            section == "encoder"
            and other_net
            and section in own_choice
            and isinstance(recipe.get("model"), dict)
        ):
            found["model"] = _model_without_encoder_keys(command, recipe["model"], overrides, searchpath)
    return found


def _model_without_encoder_keys(
    command: str, recipe: dict[str, Any], overrides: Sequence[str], searchpath: Sequence[str]
) -> DictConfig:
    """The model section as the command line and the recipe have it, but for the recipe's `ENCODER_KEYS`."""
    typed_here = [o for o in overrides if o.lstrip("+~").startswith("model.")]
    model = compose(command, [*typed_here, *searchpath])["model"]
    names = {o.lstrip("+~").partition("=")[0].partition(".")[2] for o in typed_here}
    with open_dict(model):
        model.update({k: v for k, v in recipe.items() if k not in (*ENCODER_KEYS, *names)})
    return model


def _from_experiment(message: str, overrides: Sequence[str]) -> str:
    """Whose key it is that another choice does not have: ``experiment=smoke dataset=folder``."""
    found = re.match(r"([\w.]+): no such key", message)
    experiment = next((o for o in overrides if o.startswith("experiment=")), None)
    if not found or not experiment or any(o.partition("=")[0].lstrip("+") == found[1] for o in overrides):
        return ""
    section = found[1].partition(".")[0]
    chosen = next((o for o in overrides if o.startswith(f"{section}=")), None)
    return f"; {experiment} sets it, " + (
        f"which does not go with {chosen}" if chosen else "or it was misspelt there"
    )


def _run_folder(composed: DictConfig) -> str:
    """`hydra.run.dir`, which has the encoder's name in it: for one's own the name of its class."""
    encoder = composed.encoder
    if "_target_" not in encoder or "kind" in encoder:
        return composed.hydra.run.dir
    with open_dict(composed):
        encoder.kind = str(encoder["_target_"]).rpartition(".")[2].lower()
        folder = composed.hydra.run.dir
        del encoder["kind"]
    return folder


def _refuse_common_slips(command: str, overrides: Sequence[str], options: dict[str, list[str]]) -> None:
    """Overrides that Hydra would take, or refuse, with a misleading word."""
    for override in overrides:
        name, equals, value = override.partition("=")
        if name.startswith("-"):
            raise UserError(f"{name}: no such option; keys are set as key=value (see --help)")
        if not equals and not name.startswith("~"):
            raise UserError(f"{override}: keys are set as key=value, for example dataset=folder (see --help)")
        if name in options and value.startswith("_"):
            raise UserError(f"{override}: no such choice; {name} is one of {', '.join(options[name])}")
        group, dot, last = name.lstrip("+").partition(".")
        if dot and last in ("kind", "layout") and group in options:
            raise UserError(f"{override}: choose with {group}={value} (one of {', '.join(options[group])})")
        if name == "dataset.name" and value in options["dataset"]:
            raise UserError(f"{override} only renames; to choose the data set: dataset={value}")


def typed(command: str, tree: DictConfig | dict[str, Any]) -> Any:
    """Check a composed tree against the schemas and turn it into dataclasses.

    Raises
    ------
    UserError
        Naming the key: unknown, of a wrong type, missing, or outside its choices.
    """
    tree = OmegaConf.create(tree) if isinstance(tree, dict) else tree
    schema = COMMANDS[command]
    known = schema_fields(schema)
    for name in map(str, tree):
        if name not in known:
            raise UserError(f"{name}: no such key{near(name, [*known, *flat_keys(tree)])}")
    values: dict[str, Any] = {}
    needed = OPTIONAL if command in ("train", "data") else ()
    for name, (hint, _) in known.items():
        if name in SECTIONS:
            values[name] = _typed_section(name, tree, needed)
        elif name not in tree or OmegaConf.is_missing(tree, name):
            raise UserError(f"{name} is missing: set {name}=…")
        else:
            values[name] = _checked_scalar(name, tree[name], hint)
    config = schema(**values)
    message = check_values(config)
    if message:
        raise UserError(message)
    return config


def _checked_scalar(name: str, value: Any, hint: Any) -> Any:
    if isinstance(value, DictConfig) or OmegaConf.is_list(value):
        value = OmegaConf.to_container(value)
    wrong = UserError(f"{name}={value}: wrong type, expected {_type_name(hint)}")
    allowed: dict[str, Any] = {"int": int, "float": (int, float), "bool": bool, "str": str}
    optional, base = _optional(hint)
    if value is None:
        if optional or base is Any:
            return None
        raise wrong
    expected = allowed.get(getattr(base, "__name__", ""))
    if expected and (not isinstance(value, expected) or (isinstance(value, bool) and base is not bool)):
        if base is str and isinstance(value, (int, float)):
            return str(value)
        raise wrong
    return value


def _optional(hint: Any) -> tuple[bool, Any]:
    arguments = getattr(hint, "__args__", ())
    if type(None) in arguments:
        return True, next(a for a in arguments if a is not type(None))
    return False, hint


def _type_name(hint: Any) -> str:
    optional, base = _optional(hint)
    name = getattr(base, "__name__", str(base))
    plain = {
        "str": "text",
        "int": "a whole number",
        "float": "a number",
        "bool": "true or false",
        "list": "a list",
    }
    return plain.get(name, name) + (" or null" if optional else "")


def _not_a_group(section: str, value: Any) -> str:
    if section == "tile":
        return f"tile={value} is no key: say tile.size={value}"
    return (
        f"{section} is {value!r} instead of a group of keys: choose it by {section}=NAME on the command line, "
        f"or 'override /{section}: NAME' in a YAML's defaults list"
    )


def _typed_section(section: str, tree: DictConfig, needed: Sequence[str]) -> Any:
    if section in OPTIONAL and tree.get(section) is None and section not in needed:
        return None
    node = tree.get(section)
    if not isinstance(node, DictConfig):
        raise UserError(_not_a_group(section, node))
    if section in CUSTOM and "_target_" in node:
        return OmegaConf.to_container(node)
    tag, kinds = SECTIONS[section]
    kind = node.get(tag, "") if tag else ""
    if kind not in kinds:
        raise UserError(f"{section}.{tag}={kind}: choose one of {', '.join(kinds)}")
    schema = kinds[kind]
    known = schema_fields(schema)
    for name in map(str, node):
        if name not in known:
            raise UserError(
                f"{section}.{name}: no such key{near(name, known)}; {section} has {', '.join(known)}"
            )
    try:
        merged = OmegaConf.merge(OmegaConf.structured(schema), node)
        for name, (_, described) in known.items():
            if OmegaConf.is_missing(merged, name) and described.metadata["before"] is not REQUIRED:
                OmegaConf.update(merged, name, described.metadata["before"])
            if OmegaConf.is_missing(merged, name):
                raise UserError(f"{section}.{name} is missing: set {section}.{name}=…")
        return OmegaConf.to_object(merged)
    except OmegaConfBaseException as error:
        name = f"{section}.{getattr(error, 'full_key', None) or getattr(error, 'key', '')}"
        hint = known.get(name.split(".")[1].split("[")[0], (None,))[0]
        wanted = f", expected {_type_name(hint)}" if hint is not None else ""
        raise UserError(f"{name}: {_first_line(error)}{wanted}") from error


def split_partial(overrides: Sequence[str], sections: Sequence[str]) -> tuple[list[str], list[str]]:
    """Part overrides that set single keys of a section from the rest, unless the section's group is chosen too.

    ``unet-eval ckpt=… dataset.root=moved/here`` lays one key over the checkpoint's own data set;
    ``dataset=folder dataset.root=…`` chooses another.
    """
    chosen = {o.partition("=")[0] for o in overrides}
    partial = [o for o in overrides if o.partition(".")[0] in sections and o.partition(".")[0] not in chosen]
    return [o for o in overrides if o not in partial], partial


def lay_over(tree: dict[str, Any], overrides: Sequence[str]) -> dict[str, Any]:
    """A copy of a plain config tree with ``section.key=value`` overrides laid over it.

    Raises
    ------
    UserError
        For a key the tree does not have, with the nearest name.
    """
    config = OmegaConf.create(tree)
    parser = OverridesParser.create()
    for override in quote_paths(overrides):
        try:
            parsed = parser.parse_override(override)
        except HydraException:
            raise UserError(f"{override}: cannot be read as key=value") from None
        name = parsed.key_or_group
        known = flat_keys(config)
        if name not in known:
            raise UserError(f"{override}: no such key{near(name, known)}")
        OmegaConf.update(config, name, parsed.value())
    return OmegaConf.to_container(config)  # type: ignore[return-value]


# --- explaining errors --------------------------------------------------------------------------------
def _first_line(error: BaseException) -> str:
    return " ".join(str(error).split("\n")[0].split())


def _explain(
    command: str,
    overrides: Sequence[str],
    options: dict[str, list[str]],
    searchpath: Sequence[str],
    error: Exception,
) -> str:
    """One line for what Hydra or OmegaConf said, with the nearest valid name."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return f"a YAML file cannot be read: {' '.join(text.split())}"
    if "Ambiguous value" in text:
        return f"{_first_line(error)}: several values are a sweep, say -m before them"
    for override in overrides:
        name, _, value = override.partition("=")
        if name in options and value in ("null", "") and "Config group override" in text:
            return f"{override}: choose one of {', '.join(options[name])}"
    unreadable = re.match(r"(.*) at input|mismatched input|token recognition|extraneous input", text)
    if unreadable or "grammar" in text:
        bad = next((o for o in overrides if not _parses(o)), text.split("\n")[0]).lstrip("+")
        return f"{bad}: cannot be read as key=value; put quotes around a value with special characters"
    missing = re.search(r"Could not find '([^']+)/([^/']+)'", text)
    if missing:
        group, choice = missing.group(1).lstrip("/"), missing.group(2)
        choices = options.get(group, [])
        return (
            f"{group}={choice}: no such choice{near(choice, choices)}; {group} is one of {', '.join(choices)}"
        )
    candidates: list[str] = list(options)
    groups = [o for o in overrides if o.partition("=")[0].lstrip("+") in options]
    with contextlib.suppress(HydraException, OmegaConfBaseException, ValueError):
        candidates += flat_keys(compose(command, [*groups, *searchpath]))
    unknown = re.search(r"Could not override '([^']+)'", text) or re.search(r"full_key: (\S+)", text)
    if not unknown:
        unknown = re.search(r"No match in the defaults list[^']*'([^']+)'", text)
    if unknown:
        name = unknown.group(1)
        typed_as = next((o for o in overrides if o.partition("=")[0].lstrip("+") == name), name).lstrip("+")
        if name in options:
            return f"{typed_as}: {name} cannot be chosen for unet-{command}"
        section, _, key = name.partition(".")
        only = SECTIONS.get(section, ("", {}))[1].get("")
        if only is not None and key in schema_fields(only):
            # A YAML of the user's own, written before there was this key.
            return (
                f"{typed_as}: the chosen {section} YAML has no {key} yet; write it there, or say +{typed_as}"
            )
        has = [k for k in candidates if k.startswith(section + ".") and k.count(".") == 1]
        known = f"; {section} has {', '.join(k.partition('.')[2] for k in has)}" if has else ""
        return f"{typed_as}: no such key{near(name, candidates)}{known}"
    return _first_line(error)


def _parses(override: str) -> bool:
    try:
        OverridesParser.create().parse_override(override)
    except HydraException:
        return False
    return True

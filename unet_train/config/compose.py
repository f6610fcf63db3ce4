"""Command line → checked config: Hydra composes the YAML groups, the schemas check every key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

import yaml
from hydra import compose, initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf, open_dict
from omegaconf.errors import OmegaConfBaseException

from unet_train.config.checks import expand, find_run
from unet_train.config.command_line import (
    lay_over,
    open_mappings,
    quote_paths,
    quoted,
    refuse_common_slips,
    replace_mappings,
    take_own_sections,
)
from unet_train.config.messages import explain, first_line, from_experiment, not_a_group
from unet_train.config.plans import from_plan, lay_plan
from unet_train.config.recipes import keys_not_used, sections_chosen_anew
from unet_train.config.schema import COMMANDS, SECTIONS, TrainConfig
from unet_train.config.tree import config_folder, group_options
from unet_train.config.typed import OPTIONAL, typed
from unet_train.config.yaml_files import read_yaml
from unet_train.data.layouts import AUTO
from unet_train.errors import UserError

AUTO_RESUME = "resume=auto"
"""Start, or go on with what stands in `hydra.run.dir`."""

Config = TypeVar("Config", covariant=True)


@dataclass
class Composed(Generic[Config]):
    """A checked config, the plain YAML tree it came from, and Hydra's own part."""

    config: Config
    tree: dict[str, Any]
    run_folder: str
    varies: tuple[str, ...] = ()
    """Keys that the sweep varies which the run is a job of."""
    notes: tuple[str, ...] = ()
    """What is to be told of how it came about, a line each."""


def compose_command(command: str, overrides: Sequence[str], config_dir: str | None = None) -> Composed[Any]:
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
    for word in overrides if own else []:
        group, _, choice = word.partition("=")
        file = own[0] / group / f"{choice}.yaml"
        if group.isidentifier() and file.is_file():
            read_yaml(file)  # Hydra would say no file's name, and take aliases without end
    options = group_options(own)
    refuse_common_slips(command, overrides, options)
    searchpath = [f"hydra.searchpath=[{quoted('file://' + str(own[0]))}]"] if own else []
    GlobalHydra.instance().clear()
    with initialize_config_dir(str(config_folder()), version_base="1.3"):
        try:
            composed = compose(command, [*overrides, *searchpath], return_hydra_config=True)
            sections = sections_chosen_anew(
                command, overrides, [config_folder(), *own], searchpath, own_encoder="encoder" in own_sections
            )
        except (HydraException, OmegaConfBaseException, ValueError, yaml.YAMLError) as error:
            raise UserError(explain(command, overrides, options, searchpath, error)) from error
        except OSError as error:  # a choice whose name no file can have
            raise UserError(f"{error.filename}: cannot be read ({error.strerror or error})") from error
        except (TypeError, AttributeError) as error:
            # Hydra works with its own section before it has checked it: hydra=3, hydra.sweeper=null.
            about = next((word for word in overrides if word.lstrip("+~").startswith("hydra")), "hydra")
            raise UserError(f"{about}: Hydra cannot work with this ({first_line(error)})") from error
        notes = tuple(keys_not_used(overrides, [config_folder(), *own], sections))
        with open_dict(composed):
            composed.update({**sections, **own_sections})
            replace_mappings(composed, overrides)
        HydraConfig.instance().set_config(composed)
        for section in SECTIONS:
            by_checkpoint = section in OPTIONAL and command in ("eval", "predict", "export")
            if section in composed and not isinstance(composed[section], DictConfig):
                if composed[section] is None and by_checkpoint:
                    continue
                raise UserError(not_a_group(section, composed[section]))
        try:
            run_folder = _run_folder(composed) if command == "train" else ""
            with open_dict(composed):
                del composed["hydra"]
            OmegaConf.resolve(composed)
        except OmegaConfBaseException as error:
            raise UserError(first_line(error)) from error
    try:
        config: Any = typed(COMMANDS[command], composed)
    except UserError as error:
        raise UserError(f"{error}{from_experiment(str(error), overrides)}") from error
    return Composed(config, OmegaConf.to_container(composed), run_folder, notes=notes)  # type: ignore[arg-type]


def compose_train(overrides: Sequence[str], config_dir: str | None = None) -> Composed[TrainConfig]:
    """Compose a training run, or with ``resume=FOLDER`` take up the config of one.

    Raises
    ------
    UserError
        As `compose_command` and `compose_resume`.
    """
    resume = [o for o in overrides if o.partition("=")[0] == "resume" and o != "resume=null"]
    if resume == [AUTO_RESUME]:
        return compose_start_or_go_on([o for o in overrides if o != AUTO_RESUME], config_dir)
    if resume:
        return compose_resume(resume[-1], [o for o in overrides if o not in resume])
    planned = lay_plan(overrides)
    try:
        return compose_command("train", planned, config_dir)
    except UserError as error:
        raise UserError(f"{error}{from_plan(str(error), overrides)}") from error


def compose_resume(resume: str, overrides: list[str]) -> Composed[TrainConfig]:
    """The config a run folder keeps, with single keys laid over it.

    Raises
    ------
    UserError
        For a folder without a run, or an override that is not a single key.
    """
    folder = find_run(resume.partition("=")[2].strip("'\""))
    tree = read_run_config(folder)
    for override in overrides:
        name = override.partition("=")[0]
        if name == "plan":
            raise UserError(f"{override}: a resumed run keeps its choices; start a new run with the plan")
        if name.startswith("hydra."):
            raise UserError(f"{override}: a resumed run stays in its folder; leave this out")
        if isinstance(tree.get(name), dict):
            raise UserError(f"{override}: a resumed run keeps its {name}; start a new run to change it")
    tree = lay_over(tree, overrides) | {"resume": str(folder)}
    return Composed(typed(TrainConfig, tree), tree, str(folder))


def compose_start_or_go_on(overrides: list[str], config_dir: str | None = None) -> Composed[TrainConfig]:
    """``resume=auto``: the same command line starts a run in its `hydra.run.dir`, or goes on with the one there.

    Schedulers call it again and again. What the command line says is laid over the run's own config, except where it
    says auto and the run has settled on a value; what must stay as it was is checked as in every resume.

    Raises
    ------
    UserError
        Without a fixed `hydra.run.dir`; else as `compose_command` and `compose_resume`.
    """
    folder = named_run_folder(overrides)
    if folder is None:
        raise UserError(
            f"{AUTO_RESUME}: goes with hydra.run.dir=FOLDER, the run that is started or gone on with; "
            "resume=FOLDER goes on with a run"
        )
    if not (folder / "last.pt").is_file():
        return compose_train(overrides, config_dir)
    asked = compose_command("train", lay_plan(overrides), config_dir)
    tree = go_on_with(folder, asked.tree)
    return Composed(typed(TrainConfig, tree), tree, str(folder))


def go_on_with(folder: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """The config by which the run in `folder` goes on, as far as it is asked for now.

    Raises
    ------
    UserError
        For a folder that is no run.
    """
    return laid_over(read_run_config(find_run(str(folder))), asked) | {"resume": str(folder), "plan": None}


def named_run_folder(overrides: Sequence[str]) -> Path | None:
    """The folder that ``hydra.run.dir=`` names on a command line, or None."""
    named = [o.partition("=")[2].strip("'\"") for o in overrides if o.startswith("hydra.run.dir=")]
    return expand(named[-1]) if named else None


def laid_over(saved: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    """A run's config with what is asked for now; where that is auto, with what the run has settled on."""
    result = dict(saved)
    for name, value in asked.items():
        before = saved.get(name)
        if isinstance(value, dict) and isinstance(before, dict):
            same = all(value.get(key) == before.get(key) for key in ("kind", "layout", "_target_"))
            result[name] = laid_over(before, value) if same else value
        elif name not in saved or value != AUTO:
            result[name] = value
    return result


def read_run_config(folder: Path) -> dict[str, Any]:
    """The config.yaml of a run folder.

    Raises
    ------
    UserError
        For a file that is no config.
    """
    tree = read_yaml(folder / "config.yaml")
    if not isinstance(tree, dict):
        raise UserError(f"{folder / 'config.yaml'}: holds no config; was it emptied?")
    return tree


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

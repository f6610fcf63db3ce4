"""A recipe (`experiment=…`) of which the command line chooses a part otherwise."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, OmegaConf, open_dict

from unet_train.config.chosen import ENCODER_KEYS
from unet_train.config.schema import SECTIONS
from unet_train.config.yaml_files import read_yaml
from unet_train.overrides import as_override

OTHER_NET = tuple(f"encoder.{name}=" for name in ("_target_", "name", "variant", "depth"))
"""Overrides that make it another encoder, though of the same choice."""


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
    recipe = _recipe(overrides, folders)
    if recipe is None:
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


def keys_not_used(
    overrides: Sequence[str], folders: Sequence[Path], sections: Mapping[str, DictConfig]
) -> list[str]:
    """A line for each section without the recipe's keys: which they are, and which of them can be given again.

    ``experiment=dic_hela dataset=folder`` would otherwise lose target and scale in silence.

    Parameters
    ----------
    overrides : sequence of str
        What the user typed.
    folders : sequence of Path
        Where recipes lie.
    sections : mapping of str to DictConfig
        As `sections_chosen_anew` gives them.
    """
    recipe = _recipe(overrides, folders) or {}
    experiment = next((o for o in overrides if o.startswith("experiment=")), "")
    typed_here = {o.lstrip("+~").partition("=")[0] for o in overrides}
    lines = []
    for section, content in sections.items():
        now = OmegaConf.to_container(content)
        assert isinstance(now, dict)
        lost = {
            name: value
            for name, value in recipe[section].items()
            if not any(
                key == f"{section}.{name}" or key.startswith(f"{section}.{name}.") for key in typed_here
            )
            and not (name in now and now[name] == value)
        }
        if not lost:
            continue
        chosen = "encoder" if section == "model" else section
        other = next((o for o in overrides if o.startswith(f"{chosen}=")), f"another {chosen}")
        # Those of an encoder were meant for it alone, though another may have keys of the same name.
        common = () if chosen == "encoder" else [name for name in lost if name in now]
        again = [as_override(f"{section}.{name}", lost[name]) for name in common]
        lines.append(
            f"{experiment} with {other}: not used are the recipe's "
            f"{' '.join(as_override(f'{section}.{name}', value) for name, value in lost.items())}"
            f"{'; to use them all the same, say ' + ' '.join(again) if again else ''}"
        )
    return lines


def _recipe(overrides: Sequence[str], folders: Sequence[Path]) -> dict[str, Any] | None:
    """The YAML of the recipe that a command line names; None if it names none."""
    given = [o for o in overrides if o.startswith("experiment=")]
    files = [folder / "experiment" / f"{o.partition('=')[2]}.yaml" for o in given for folder in folders]
    recipe = next((read_yaml(file) for file in files if file.is_file()), None)
    return recipe if isinstance(recipe, dict) else None


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

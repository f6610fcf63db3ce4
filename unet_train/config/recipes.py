"""A recipe (`experiment=…`) of which the command line chooses a part otherwise."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from omegaconf import DictConfig, open_dict

from unet_train.config.chosen import ENCODER_KEYS
from unet_train.config.schema import SECTIONS
from unet_train.config.yaml_files import read_yaml

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
    given = [o for o in overrides if o.startswith("experiment=")]
    files = [folder / "experiment" / f"{o.partition('=')[2]}.yaml" for o in given for folder in folders]
    recipe = next((read_yaml(file) for file in files if file.is_file()), None)
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

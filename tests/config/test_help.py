"""`--help` for what is chosen: the keys of the chosen groups, each once, with the default that it has."""

import re

import pytest

from unet_train.config.compose import compose_command
from unet_train.config.help import help_page


def keys(page):
    """Key → its default, of the lines that show one."""
    found = re.findall(r"^  ([a-z_.]+)=(\S*)", page.partition("Keys:")[2], re.M)
    assert len(found) == len(dict(found)), "each key once"
    return dict(found)


@pytest.mark.parametrize(
    "words",
    [
        [],
        ["encoder=resnet", "dataset=custom", "optimizer=sgd", "scheduler=poly"],
        ["experiment=dic_hela"],
        ["experiment=dic_hela", "encoder=unet", "weights=random"],
    ],
    ids=" ".join,
)
def test_the_keys_are_those_that_the_command_composes_with_their_values(words):
    needed = ["dataset._target_=a.B"] if "dataset=custom" in words else ["dataset.root=x"]
    tree = compose_command("train", words + (needed if words else [])).tree
    shown = keys(help_page("train", words=words))
    for name, text in shown.items():
        section, _, key = name.partition(".")
        value = tree[section][key] if key else tree[section]
        if text.endswith("…") or text in ("[…]", "{…}") or name == "dataset.root":
            continue
        said = "null" if value is None else str(value).replace(" ", "").replace("'", "")
        assert text == (said.lower() if isinstance(value, bool) else said), name
    for section in ("encoder", "dataset", "optimizer", "scheduler", "trainer"):
        composed = {f"{section}.{key}" for key in tree[section]} - {f"{section}.{key}" for key in HIDDEN}
        assert composed <= set(shown), section


HIDDEN = ("kind", "layout", "_target_")


def test_what_another_choice_has_beside_it_is_named():
    page = " ".join(help_page("train").split())
    assert "with dataset=folder dataset.masks=null, dataset.unlabelled=refuse, " in page
    assert "with encoder=resnet" not in page, "its depth is a key of the classic net too"
    assert "with encoder=timm encoder.name=tf_efficientnet_lite0 (unet-train encoder=timm --help)" in page


@pytest.mark.parametrize("command", ["train", "eval", "predict", "export", "data", "runs"])
def test_sweeps_are_offered_where_there_are_some(command):
    assert ("--multirun" in help_page(command)) == (command == "train")


def test_a_checkpoints_own_are_no_defaults_of_ours():
    page = help_page("eval")
    assert "  encoder=null" in page
    assert "encoder.variant" not in page
    assert "  split.val_fraction=…" in page
    assert "dataset.name=brain_mri" not in page
    assert "dataset.root=…" in help_page("eval", words=["dataset=folder"])

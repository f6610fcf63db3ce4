"""What a user types composes, or is refused in one line with the near name, before torch is imported."""

import subprocess
import sys

import pytest
import yaml

from unet_train.config.checks import check_scale
from unet_train.config.command_line import lay_over, quote_paths, split_partial
from unet_train.config.compose import compose_command
from unet_train.config.schema import TrainConfig
from unet_train.config.tree import config_folder
from unet_train.config.typed import typed
from unet_train.errors import UserError

ODD_NAMES = [
    "größe.tif",
    "image (1).tif",
    "it's.tif",
    "~/x",
    "a&b",
    "a,b.tif",
    "x=1/best.pt",
    "[brackets].tif",
    'double"quote.png',
    "back\\slash",
    "trailing\\",
    "{braces}",
    " leading space",
    "a#b",
    "50%.png",
    "$HOME",
    "both'and\"",
    "\\'",
]


@pytest.mark.parametrize(
    ("typed", "says"),
    [
        ("encoder=resnt", ["encoder=resnt", "resnet"]),
        ("encoder.dpth=3", ["encoder.dpth", "encoder.depth"]),
        ("encoder.depth=abc", ["encoder.depth", "abc", "whole number"]),
        ("trainer.epoch=3", ["trainer.epoch", "trainer.epochs"]),
        ("trainer.epochs=1.5", ["trainer.epochs", "1.5", "whole number"]),
        ("optimizer.lr=abc", ["optimizer.lr", "number"]),
        ("dataset.name=brain_mri", ["dataset=brain_mri"]),
        ("encoder.kind=resnet", ["encoder=resnet"]),
        ("seeed=3", ["seeed", "seed"]),
        ("seed=x", ["seed=x", "whole number"]),
        ("dataset=folder", ["dataset.root", "missing"]),
        ("model.head=foo", ["model.head=foo", "softmax, sigmoid"]),
        ("experiment=foo", ["experiment=foo", "smoke"]),
        ("trainer.batch_size=0", ["trainer.batch_size", "at least 1"]),
        ("a=[", ["a=["]),
        ("nonsense", ["nonsense", "key=value"]),
        ("+foo=3", ["foo"]),
        ("trainer.compile=maybe", ["trainer.compile", "maybe", "true", "false"]),
        ("loss.terms=5", ["loss.terms", "list"]),
        ("trainer=null", ["trainer"]),
        ("weights=runs/x/best.pt", ["weights=file weights.path=runs/x/best.pt"]),
        ("dataset=../my_images", ["dataset=folder dataset.root=../my_images"]),
        ("ckpt=runs/x/best.pt", ["weights.path=runs/x/best.pt", "resume=RUN_FOLDER"]),
        ("output=here", ["hydra.run.dir=here"]),
        ("input=images", ["dataset.root"]),
    ],
)
def test_mistakes_are_said_in_one_line(typed, says):
    with pytest.raises(UserError) as caught:
        compose_command("train", [typed])
    message = str(caught.value)
    assert "\n" not in message
    for part in says:
        assert part in message


def test_a_key_of_another_choice_is_refused_with_the_keys_there_are():
    with pytest.raises(UserError, match=r"encoder .*kind, variant"):
        compose_command("train", ["encoder=efficientnet", "encoder.depth=50"])


@pytest.mark.parametrize("wrong", ["half", "true", "[1,2]", "null"])
def test_a_scale_is_a_number_or_auto(wrong):
    for scale in ("0.5", "2", "auto"):
        check_scale(compose_command("train", [f"dataset.scale={scale}"]).config.dataset.scale)
    with pytest.raises(UserError, match=r"dataset\.scale=.*: a number, such as 0\.5, or auto"):
        check_scale(compose_command("train", [f"dataset.scale={wrong}"]).config.dataset.scale)


def test_keys_of_a_recipe_that_another_choice_leaves_unused_are_named():
    """The recipe's target and scale would be lost in silence with one's own folder."""

    def told(*words):
        return compose_command("train", [*words, "dataset.root=here"]).notes

    (note,) = told("experiment=dic_hela", "dataset=folder")
    assert note == (
        "experiment=dic_hela with dataset=folder: not used are the recipe's dataset.labels=both dataset.scale=0.5 "
        "dataset.target=foreground_core 'dataset.target_params={width:8}' dataset.normalisation=image dataset.ring=8; "
        "to use them all the same, say dataset.scale=0.5 dataset.target=foreground_core "
        "'dataset.target_params={width:8}' dataset.normalisation=image"
    )
    (note,) = told(
        "experiment=dic_hela", "dataset=folder", "dataset.scale=0.25", "dataset.target_params.width=4"
    )
    assert "scale" not in note
    assert "target_params" not in note
    assert told("experiment=dic_hela", "dataset=dic_hela", "dataset.scale=1") == ()
    assert told("dataset=folder") == ()
    (note,) = told("experiment=dic_hela", "encoder=resnet", "weights=random", "model.norm=group")
    assert note == (
        "experiment=dic_hela with encoder=resnet: not used are the recipe's 'model.decoder_channels=[96,64,32,16,16]' "
        "model.input_skip=16"
    )
    (note,) = told("experiment=dic_hela", "augmentation=none")
    assert note.endswith("to use them all the same, say augmentation.crop_size=192")


def test_another_choice_than_the_recipes_is_free_of_the_recipes_keys_for_it():
    config = compose_command("train", ["experiment=demo", "encoder=resnet", "encoder.depth=18"]).config
    assert (config.encoder.kind, config.encoder.depth) == ("resnet", 18)
    assert config.augmentation.crop_size == 128  # the rest of the recipe stays
    config = compose_command("train", ["experiment=demo", "encoder=unet"]).config
    assert (config.encoder.init_features, config.encoder.depth) == (16, 3)  # the recipe's own choice
    config = compose_command("train", ["experiment=smoke", "dataset=folder", "dataset.root=here"]).config
    assert (config.dataset.layout, config.dataset.root) == ("folder", "here")
    words = ["experiment=dic_hela", "dataset.root=here"]
    assert compose_command("train", words).config.model.input_skip == 16
    model = compose_command(
        "train", [*words, "encoder=unet", "weights=random", "model.norm=group"]
    ).config.model
    assert (model.decoder_channels, model.input_skip, model.norm) == (None, 0, "group")
    model = compose_command("train", [*words, "encoder=resnet", "model.input_skip=8"]).config.model
    assert (model.decoder_channels, model.input_skip) == (None, 8)  # the command line's own stays
    for other in ("encoder._target_=mine.Net", "encoder.name=vgg11"):
        model = compose_command("train", [*words, other]).config.model
        assert (model.decoder_channels, model.input_skip) == (None, 0)
    with pytest.raises(UserError, match=r"encoder\.init_features=4: "):
        compose_command("train", ["experiment=demo", "encoder=resnet", "encoder.init_features=4"])


def test_a_mapping_that_the_shell_has_taken_apart_is_shown_with_its_quotes():
    for pieces in (["0:0", "255:1"], ["0:0", "128:1", "255:2"]):
        words = ["dataset=folder", "dataset.root=x", *(f"dataset.values={piece}" for piece in pieces)]
        with pytest.raises(UserError, match=f"'dataset.values={{{','.join(pieces)}}}'"):
            compose_command("train", words)


@pytest.mark.parametrize("name", ODD_NAMES)
@pytest.mark.parametrize("key", ["weights.path", "dataset.root", "resume", "hydra.run.dir"])
def test_paths_are_taken_as_typed(name, key):
    composed = compose_command(
        "train", ["weights=file", "weights.path=x", "dataset=folder", "dataset.root=y", f"{key}={name}"]
    )
    found = {
        "weights.path": composed.config.weights.path,
        "dataset.root": composed.config.dataset.root,
        "resume": composed.config.resume,
        "hydra.run.dir": composed.run_folder,
    }
    assert found[key] == name


@pytest.mark.parametrize("name", ODD_NAMES)
def test_inputs_and_checkpoints_of_predict_are_taken_as_typed(name):
    composed = compose_command("predict", [f"ckpt={name}", f"input={name}", f"output={name}"])
    if not name.startswith("["):
        assert composed.config.ckpt == name
    assert composed.config.input == composed.config.output == name


def test_several_checkpoints_and_an_existing_file_that_looks_like_a_list(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    composed = compose_command("predict", ["ckpt=[a (1).pt, b.pt]", "input=i", "output=o"])
    assert composed.config.ckpt == ["a (1).pt", "b.pt"]
    (tmp_path / "[a,b]").touch()
    assert compose_command("predict", ["ckpt=[a,b]", "input=i", "output=o"]).config.ckpt == "[a,b]"


def test_values_already_quoted_stay():
    assert quote_paths(["dataset.root='a b'"]) == ["dataset.root='a b'"]
    assert quote_paths(["optimizer.lr=1e-3", "resume=null"]) == ["optimizer.lr=1e-3", "resume=null"]


def test_a_group_that_became_a_string_in_yaml_is_refused(tmp_path):
    # hydra#2670: `encoder: resnet` in an experiment's body replaces the group by a string.
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text("# @package _global_\nencoder: resnet\n")
    with pytest.raises(UserError, match=r"encoder.*override /encoder"):
        compose_command("train", ["experiment=mine"], str(tmp_path))


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ("trainer: {epoch: 3}", "trainer.epoch"),
        ("trainer: {epochs: many}", "trainer.epochs"),
        ("optimiser: {lr: 1}", "optimizer"),
    ],
)
def test_mistakes_in_a_yaml_file_are_refused_alike(tmp_path, body, says):
    folder = tmp_path / "experiment"
    folder.mkdir()
    (folder / "mine.yaml").write_text(f"# @package _global_\n{body}\n")
    with pytest.raises(UserError, match=says):
        compose_command("train", ["experiment=mine"], str(tmp_path))


def test_every_yaml_says_first_what_it_is():
    for file in config_folder().rglob("*.yaml"):
        lines = file.read_text(encoding="utf-8").splitlines()
        assert lines[0].startswith("#"), file
        assert yaml.safe_load("\n".join(lines)), file


def test_partial_sections_are_laid_over_the_checkpoints_own():
    rest, partial = split_partial(["ckpt=a", "dataset.root=b (1)", "part=val"], ("dataset", "split"))
    assert (rest, partial) == (["ckpt=a", "part=val"], ["dataset.root=b (1)"])
    assert lay_over({"dataset": {"root": "a", "scale": 1.0}}, partial)["dataset"]["root"] == "b (1)"
    with pytest.raises(UserError, match=r"dataset\.root"):
        lay_over({"dataset": {"root": "a"}}, ["dataset.rot=b"])
    assert split_partial(["dataset=folder", "dataset.root=b"], ("dataset",))[1] == []


def test_a_key_that_came_later_is_laid_over_an_older_run():
    older = {"dataset": {"layout": "folder", "root": "a"}}
    assert lay_over(older, ["dataset.boundary=x"])["dataset"]["boundary"] == "x"
    for wrong in ("dataset.bounday=x", "dataset.scale=0.5"):  # no key; one that every run has
        with pytest.raises(UserError, match="no such key"):
            lay_over(older, [wrong])


def test_a_config_error_is_said_without_importing_torch():
    code = (
        "import sys\n"
        "from unet_train.commands.train import train\n"
        "from unet_train.commands import shell\n"
        "code = shell.run('train', train, ['encoder=resnt'])\n"
        "assert code == 2\n"
        "assert 'torch' not in sys.modules and 'albumentations' not in sys.modules\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "resnet?" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["train", "eval", "predict", "export", "data", "runs"])
def test_help_names_every_group_and_key_without_torch(command):
    code = (
        "import sys\n"
        "from unet_train.config.help import help_page\n"
        f"print(help_page('{command}'))\n"
        "assert 'torch' not in sys.modules\n"
    )
    page = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert "Exit codes" in page
    root = yaml.safe_load((config_folder() / f"{command}.yaml").read_text())
    for key in root:
        if key not in ("defaults", "hydra"):
            assert key in page
    if command == "train":
        for name in ("efficientnet", "phc_u373", "trainer.epochs=", "dataset.root=", "encoder.variant="):
            assert name in page


def test_a_config_from_before_a_key_was_there_stands_for_what_it_did_then():
    tree = compose_command("train", ["dataset=dic_hela", "dataset.root=x"]).tree
    del tree["dataset"]["ring"]
    del tree["augmentation"]["touching_share"]
    config = typed(TrainConfig, tree)
    assert (config.dataset.ring, config.augmentation.touching_share) == (0, 0.0)
    del tree["dataset"]["margin"]
    with pytest.raises(UserError, match=r"dataset\.margin "):
        typed(TrainConfig, tree)


def test_a_fold_needs_the_number_of_folds_only_where_no_file_has_them(tmp_path):
    from unet_train.config.checks import check_train

    data = ["experiment=brain_mri", f"dataset.root={tmp_path}", "weights=random"]
    check_train(compose_command("train", [*data, "split.file=lgg22-5fold", "split.fold=1"]).config)
    for words, says in ((["split.fold=1"], "needs split.folds"), (["split.folds=5"], "Say split.fold=0")):
        with pytest.raises(UserError, match=says):
            check_train(compose_command("train", [*data, *words]).config)


def test_a_mapping_that_is_given_whole_replaces_the_recipes():
    words = ["experiment=dic_hela", "dataset.root=x", "dataset.target=classes"]
    assert compose_command("train", [*words, "dataset.target_params={}"]).config.dataset.target_params == {}
    changed = compose_command("train", [*words[:2], "dataset.target_params.width=3"]).config
    assert changed.dataset.target_params == {"width": 3}
    weights = compose_command("train", ["loss=border_weighted", "loss.border_weights={w0:5}"]).config
    assert weights.loss.border_weights == {"w0": 5}


def test_a_key_that_a_yaml_of_ones_own_does_not_have_yet_can_be_given(tmp_path):
    group = tmp_path / "augmentation"
    group.mkdir()
    keys = "crop_size: 32\nforeground_share: 0.5\ntouching_share: 0.0\nbalance: false\ntransforms: []\n"
    (group / "mine.yaml").write_text(keys)
    words, wish = ["augmentation=mine"], "augmentation.orientation=auto"
    with pytest.raises(UserError) as caught:
        compose_command("train", [*words, wish], str(tmp_path))
    advice = f"+{wish}"
    assert advice in str(caught.value)
    assert compose_command("train", [*words, advice], str(tmp_path)).config.augmentation.orientation == "auto"
    assert compose_command("train", words, str(tmp_path)).config.augmentation.orientation == "any"


def test_a_key_that_does_not_exist_is_told_beside_a_mapping_of_numbers():
    tree = compose_command("train", ["dataset=folder", "dataset.root=x", "dataset.values={0:0,255:1}"]).tree
    with pytest.raises(UserError, match=r"^sead: no such key \(did you mean seed"):
        typed(TrainConfig, tree | {"sead": 3})


@pytest.mark.parametrize("word", ["hydra=null", "hydra=3", "hydra={a:1}"])
def test_what_hydra_itself_stumbles_over_is_one_line(word):
    with pytest.raises(UserError, match="hydra"):
        compose_command("train", [word])


def test_a_name_that_no_file_can_have_is_one_line():
    with pytest.raises(UserError, match="encoder"):
        compose_command("train", [f"encoder={'y' * 5000}"])


@pytest.mark.parametrize("value", ["[[1]]", "{a:1}"])
def test_what_is_no_number_where_one_is_meant_is_one_line(value):
    with pytest.raises(UserError, match=r"dataset\.scale.*number"):
        compose_command("train", [f"dataset.scale={value}"])

"""What the documents and the YAML files say is true: every command and key composes, runs, every link leads somewhere.

Commands of README.md, docs/ and data/README.md are found where they stand as code. Each is split as a shell
splits it and composed; those that need neither a network nor somebody's data are run, made short, on small
images.
"""

import itertools
import re
import shlex
import shutil
import subprocess
from dataclasses import asdict
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import yaml

from unet_train.config.compose import compose_command
from unet_train.config.schema import COMMANDS, CUSTOM, SECTIONS
from unet_train.config.tree import config_folder, group_options, read_choice
from unet_train.errors import UserError
from unet_train.keys import schema_fields

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "data/README.md")),
    *sorted((ROOT / "docs").rglob("*.md")),
]
BASH = shutil.which("bash")


# --- finding ------------------------------------------------------------------------------------------
def code_of(text):
    """Code lines and inline code of a Markdown text, without comments, each in one piece."""
    text = text.replace("\\\n", " ")
    blocks = re.findall(r"^```[^\n]*\n(.*?)^```", text, re.M | re.S)
    rest = re.sub(r"^```.*?^```", "", text, flags=re.M | re.S)
    lines = [line for block in blocks for line in block.splitlines()]
    lines += re.findall(r"^(?: {4}|\t)(.*)$", rest, re.M)
    inline = re.findall(r"`([^`]+)`", re.sub(r"^(?: {4}|\t).*$", "", rest, flags=re.M))
    found = [re.split(r"\s{2,}|\s#", line.strip())[0] for line in lines]
    return found + [" ".join(piece.replace("\\|", "|").split()) for piece in inline]


def all_code():
    return [(path, piece) for path in DOCUMENTS for piece in code_of(path.read_text(encoding="utf-8"))]


def unique(found):
    """The first document of each piece."""
    return [(path, piece) for piece, path in {piece: path for path, piece in reversed(found)}.items()]


def commands():
    """(document, command line) of every `unet-*` command, the same one once."""
    pattern = re.compile(r"^(?:\S*/|\S*\\)?unet-(train|eval|predict|data|export|runs)(?=\s|$)(.*)$")
    found = [(path, pattern.match(piece)) for path, piece in all_code()]
    return unique([(path, f"unet-{m[1]}{m[2]}") for path, m in found if m])


def snippets():
    """(document, text) of every inline code that sets keys: `encoder=resnet encoder.depth=34`."""
    word = re.compile(r"^'?[~+]*[a-z_]+([./][a-z_]+)*=\S*$")
    found = [(path, piece) for path, piece in all_code() if all(map(word.match, piece.split(" ")))]
    # Not ours: the general case, and Python's keyword arguments.
    return unique([(p, text) for p, text in found if text != "key=value" and "=False" not in text])


def named_keys():
    """(document, key) of every inline code that is the dotted name of a key: `trainer.ema_decay`."""
    found = [(path, piece) for path, piece in all_code() if re.fullmatch(r"[a-z]+\.[a-z_]+", piece)]
    files = (".json", ".yaml", ".pt", ".csv", ".log", ".md", ".png", ".tif", ".onnx", ".safetensors")
    found = [(p, k) for p, k in found if k.partition(".")[0] in SECTIONS and not k.endswith(files)]
    return unique([(p, k) for p, k in found if p.stem != "python"])  # there `model.data` is Python


def shell_words(text):
    """The words a program would be given; with bash, because it expands braces that stand without quotes."""
    if not BASH or re.search(r"[;&|<>$]", re.sub(r"'[^']*'", "", text)):
        return shlex.split(text)
    done = subprocess.run(
        [BASH, "-c", f"printf '%s\\n' {text}"], capture_output=True, text=True, encoding="utf-8", cwd=ROOT
    )
    assert done.returncode == 0, f"{text}: {done.stderr}"
    return done.stdout.splitlines()


def ids(found):
    return [f"{path.name}: {piece}" for path, piece in found]


# --- commands -----------------------------------------------------------------------------------------
HELD_BY_OTHERS = ("phc_u373", "dic_hela", "brain_mri", "isbi2012", "camvid", "unet_paper")


OF_PLUGINS = ("hydra/", "hydra.launcher.", "hydra.sweeper.")
"""Keys of Hydra's plugins, which need not be installed."""

SMALL_PLAN = ["encoder=unet", "encoder.init_features=4", "encoder.depth=2", "weights=random"]


@pytest.fixture(scope="module")
def finished(tmp_path_factory, run_command, write_images, short):
    """A folder with small images, one whose masks number objects, and a finished run on the first."""
    folder = tmp_path_factory.mktemp("documents")
    write_images(folder / "my_images")
    halves = np.repeat([1, 2], 32).astype(np.uint8)
    write_images(folder / "my_cells", mask=lambda i, labels: (labels > 0) * halves)
    words = ["dataset=folder", f"dataset.root={folder / 'my_images'}", f"hydra.run.dir={folder / 'run'}"]
    assert run_command("train", *short, *words) == 0
    return folder


def fill_in(words, finished):
    """Put what exists here for the names that stand for something of the reader's."""
    values = {
        "ckpt": finished / "run" / "best.pt",
        "resume": "run",
        "dataset.root": finished / ("my_cells" if "dataset.instances=true" in words else "my_images"),
        "input": finished / "my_images" / "images",
        "output": "out",
        "weights.path": finished / "run" / "best.pt",
        "predictions": finished / "my_images" / "masks",
        "minutes": "0.05",
    }
    filled = []
    for word in words:
        name, equals, value = word.partition("=")
        if name == "ckpt" and value.startswith("["):
            value = f"[{','.join([str(values['ckpt'])] * len(value.split(',')))}]"
        elif equals and name in values and word != "resume=auto":
            value = values[name]
        elif word == "dataset=…":
            value = "folder"
        filled.append(f"{name}{equals}{value}")
    return filled


def compose_all(command, words):
    """Compose what a command would run: jobs of a sweep, or the one."""
    if not {"-m", "--multirun"} & set(words):
        return [compose_command(command, words)]
    words = [w for w in words if "=" in w and not w.startswith(OF_PLUGINS)]
    # Of a search the two ends.
    words = [re.sub(r"=.*interval\((.*?)\).*", r"=\1", word) for word in words]
    swept = {w.partition("=")[0]: re.split(r",(?![^\[]*\])", w.partition("=")[2]) for w in words}
    jobs = max(map(len, swept.values()))
    assert jobs > 1, "a sweep of one"
    # Every value once, not every pair of values.
    return [
        compose_command(command, [f"{name}={values[job % len(values)]}" for name, values in swept.items()])
        for job in range(jobs)
    ]


def shortened(words, short):
    """Words that make a training short, for whatever it trains on and with."""
    chosen = dict(w.split("=", 1) for w in words if "=" in w)
    resumed = chosen.get("resume", "auto") != "auto"
    small = [w for w in short if not w.startswith("encoder.") or chosen.get("encoder", "unet") == "unet"]
    if chosen.get("dataset", "demo") == "demo" and not resumed:
        small += ["dataset.images=4", "dataset.test_images=1", "dataset.size=64"]
    return ["trainer.epochs=2"] if resumed else small


@pytest.mark.parametrize(("document", "line"), commands(), ids=ids(commands()))
def test_a_command_composes_and_runs(document, line, finished, own_folder, run_command, short, capsys):
    program, *words = shell_words(line.replace("…", "etc"))
    command = program.removeprefix("unet-")
    words = [word.replace("=etc", "=…") for word in words if word != "etc"]
    if {"--help", "--version"} & set(words):
        assert run_command(command, *words) == 0
        return
    if not words and command != "train":
        return  # the name of the command in a sentence
    words = fill_in(words, finished)
    if command == "data":
        action = words.pop(0)
        if action == "fetch":
            from unet_train.data.fetch import ARCHIVES

            assert words[0] in (*ARCHIVES, "brain_mri")
            return
        if action in ("check", "plan") and not words:
            return
        if action == "check":
            compose_command("data", words)
        if action == "plan":
            words += SMALL_PLAN
        assert run_command("data", action, *words) == 0
        return
    if command == "runs":
        keys = [word for word in words[1:] if "=" in word and not word.startswith("part=")]
        assert run_command("runs", words[0], finished / "run", *keys) == 0
        return
    if any(word.startswith("plan=") for word in words):
        Path("plan.yaml").write_text(f"dataset: folder\ndataset.root: {finished / 'my_images'}\n")
        minutes = ["minutes=0.05"] if "plan=auto" in words and not any("minutes=" in w for w in words) else []
        assert run_command("train", *words, *minutes, *SMALL_PLAN, "trainer.epochs=1") == 0
        return
    if "resume=run" in words:
        shutil.copytree(finished / "run", own_folder / "run")
        assert run_command(command, *words[:1], *shortened(words, short)) == 0
        return
    if "split.fold=all" in words:  # tests/runs/test_folds.py trains them
        compose_command(command, ["split.fold=0" if word == "split.fold=all" else word for word in words])
        return
    composed = compose_all(command, words)
    others = any(name in line for name in HELD_BY_OTHERS)
    network = any(w in words for w in ("weights=imagenet", "weights=brain_mri"))
    network |= any(word.startswith("logger=") for word in words)
    if others or network or len(composed) > 1 or command == "export":
        return
    if command == "train":
        assert run_command("train", *words, *shortened(words, short)) == 0
        assert list(Path().rglob("best.pt"))
    else:
        assert run_command(command, *words) == 0, capsys.readouterr().err


def test_commands_are_found():
    found = commands()
    assert len(found) >= 12
    assert {line.split()[0] for _, line in found} >= {"unet-train", "unet-eval", "unet-predict", "unet-data"}
    text = "`unet-train\nseed=1` x `a \\| b`\n\n    unet-eval ckpt=a  # why\n    .venv/bin/unet-train  the demo\n"
    assert code_of(text) == ["unet-eval ckpt=a", ".venv/bin/unet-train", "unet-train seed=1", "a | b"]
    compose_with_context(["encoder.variant=b1", "trainer.epochs=3"])
    for wrong in (["encoder.varaint=b1"], ["trainer.epoch=3"], ["nothing=3"]):
        with pytest.raises(AssertionError):
            compose_with_context(wrong)
    if BASH:
        assert shell_words("a={0:0,1:1} 'b={0:0,1:1}'") == ["a=0:0", "a=1:1", "b={0:0,1:1}"]


def quoted_for_all_shells():
    """(document, text) of everything that is typed: commands, and the keys that go into them."""
    return unique([*commands(), *snippets()])


ZSH = shutil.which("zsh")


def test_what_is_typed_needs_no_more_quotes_in_zsh_and_powershell():
    """Brackets, braces, stars and question marks are patterns to zsh, commas between words a list to PowerShell."""
    bare = {text: re.sub(r"'[^']*'|\"[^\"]*\"", "", text) for _, text in quoted_for_all_shells()}
    unquoted = [text for text, rest in bare.items() if re.search(r"[][{}*?,~@]", rest)]
    assert not unquoted, "\n".join(unquoted)


@pytest.mark.skipif(not ZSH, reason="no zsh here")
def test_zsh_gives_a_program_the_words_that_are_meant(tmp_path):
    texts = [text.replace("…", "etc") for _, text in commands() if not re.search(r"[;&|<>$]", text)]
    script = "\n".join(f"printf '%s\\0' {text}; printf '\\n'" for text in texts)
    done = subprocess.run([ZSH, "-f", "-c", script], capture_output=True, text=True, cwd=tmp_path, check=True)
    for text, line in zip(texts, done.stdout.splitlines(), strict=True):
        assert line.split("\0")[:-1] == shlex.split(text)


# --- keys ---------------------------------------------------------------------------------------------
@cache
def holders(group, key):
    """Choices of a group whose YAML has the key."""
    files = sorted((config_folder() / group).glob("[!_]*.yaml"))
    return [f.stem for f in files if key in read_choice(f)]


@cache
def default_tree():
    return compose_command("train", []).tree


@cache
def root_of(command):
    """Top-level keys of a command, with their values; groups among them."""
    root = yaml.safe_load((config_folder() / f"{command}.yaml").read_text(encoding="utf-8"))
    groups = {g: None for entry in root["defaults"] if isinstance(entry, dict) for g in entry}
    return {**groups, "hydra": None, **root}


def context(words):
    """Words that choose what these keys belong to."""
    names = [word.partition("=")[0].lstrip("+~") for word in words]
    needed = []
    for section in {name.partition(".")[0] for name in names if "." in name} & set(group_options()):
        keys = [name.split(".")[1] for name in names if name.startswith(section + ".")]
        if section in names or "_target_" in keys or all(key in default_tree()[section] for key in keys):
            continue
        fitting = set.intersection(*(set(holders(section, key)) for key in keys))
        assert fitting, f"no {section} has {', '.join(keys)}"
        needed.append(f"{section}={min(fitting, key=lambda choice: (choice == 'custom', choice))}")
    if any(name == "dataset._target_" for name in names) and "dataset" not in names:
        needed.append("dataset=custom")
    chosen = dict(w.split("=", 1) for w in [*words, *needed])
    for choice, key in (("dataset=folder", "dataset.root"), ("dataset=custom", "dataset._target_")):
        if choice in (*words, *needed) and key not in chosen:
            needed.append(f"{key}=a.b")
    if "weights=file" in (*words, *needed) and "weights.path" not in chosen:
        needed.append("weights.path=x")
    return needed


def compose_with_context(words):
    """Compose the words for the first command that takes them."""
    tops = {word.partition("=")[0].lstrip("+~").partition(".")[0] for word in words}
    errors = []
    for command in COMMANDS:
        root = root_of(command)
        if not tops <= set(root):
            continue
        needed = [f"{key}=x" for key, value in root.items() if value == "???" and key not in tops]
        try:
            compose_command(command, [*context(words), *needed, *words])
            return
        except UserError as error:
            errors.append(f"unet-{command}: {error}")
    raise AssertionError("; ".join(errors) or f"no command has {', '.join(sorted(tops))}")


def test_keys_and_values_in_the_documents_compose():
    waiting = []
    for document, text in snippets():
        for alternative in itertools.product(*(alternatives(word) for word in text.split(" "))):
            words = [word.rstrip(",") for word in shell_words(" ".join(alternative))]
            values = {w.partition("=")[0]: w.partition("=")[2] for w in words}
            if any(value in ("", "…") for name, value in values.items() if name in group_options()):
                continue  # `dataset=`: the group as such
            if all(name.startswith(OF_PLUGINS) for name in values):
                continue
            words = [f"{name}={value.replace('…', 'x') or 'x'}" for name, value in values.items()]
            waiting.append((document, text, words))
    assert len(waiting) >= 40
    wrong = []
    for batch in batches(waiting):
        try:
            if len(batch) > 1:
                compose_command("train", [w for _, _, words in batch for w in words])
                continue
        except UserError:
            pass  # which one? One by one.
        for document, text, words in batch:
            try:
                compose_with_context(words)
            except (UserError, AssertionError) as error:
                wrong.append(f"{document.relative_to(ROOT)}: `{text}`: {error}")
    assert not wrong, "\n".join(wrong)


def batches(waiting):
    """Texts that can be composed together: keys of the default choices, each set once. Composing takes its time."""
    packed, alone = [], []
    for entry in waiting:
        names = names_of(entry)
        if context(entry[2]) or not {name.partition(".")[0] for name in names} <= default_tree().keys():
            alone.append([entry])
            continue
        for batch in packed:
            if not any(clash(a, b) for a in names for other in batch for b in names_of(other)):
                batch.append(entry)
                break
        else:
            packed.append([entry])
    return packed + alone


def names_of(entry):
    return [word.partition("=")[0] for word in entry[2]]


def clash(a, b):
    """The same key twice, or a section's choice beside one of its keys."""
    return a == b or (a.partition(".")[0] == b.partition(".")[0] and not ("." in a and "." in b))


def alternatives(word):
    """`optimizer=adamw|sgd` is two words."""
    name, _, value = word.partition("=")
    return [f"{name}={one}" for one in value.split("|")] if "|" in value and "'" not in value else [word]


@pytest.mark.parametrize(("document", "key"), named_keys(), ids=ids(named_keys()))
def test_a_key_that_is_named_exists(document, key):
    section, _, name = key.partition(".")
    own_object = name == "_target_" and section in (*CUSTOM, "dataset")
    assert own_object or any(name in schema_fields(schema) for schema in SECTIONS[section][1].values())


# --- links --------------------------------------------------------------------------------------------
def links():
    found = []
    for path in DOCUMENTS:
        text = re.sub(r"^```.*?^```", "", path.read_text(encoding="utf-8"), flags=re.M | re.S)
        for target in re.findall(r"\]\(([^)\s]+)\)", text):
            if not re.match(r"[a-z]+:", target):
                found.append((path, target))
    return found


def slugs(path):
    """Anchors of a document's headings, by GitHub's rule."""
    headings = re.findall(r"^#+ (.*)$", path.read_text(encoding="utf-8"), re.M)
    return {re.sub(r"[^\w\- ]", "", h.lower()).replace(" ", "-") for h in headings}


@pytest.mark.parametrize(("document", "target"), links(), ids=ids(links()))
def test_a_link_leads_somewhere(document, target):
    name, _, anchor = target.partition("#")
    path = (document.parent / name).resolve() if name else document
    assert path.exists()
    assert path.is_relative_to(ROOT)
    assert not anchor or anchor in slugs(path)


# --- YAML ---------------------------------------------------------------------------------------------
FILES = [
    f for f in sorted(config_folder().rglob("*.yaml")) if "hydra" not in f.relative_to(config_folder()).parts
]
"""All but those of Hydra's plugins, which need not be installed: tests/commands/test_cluster.py."""


def test_every_yaml_is_built_below():
    roots = [f.stem for f in FILES if f.parent == config_folder()]
    assert sorted(roots) == sorted(COMMANDS)
    built = [f for f in FILES if f.parent.parent == config_folder()]
    assert len(built) + len(roots) == len(FILES) >= 42


@pytest.fixture(scope="module")
def roots(tmp_path_factory, write_images):
    """Choice of data set → words that let it be built on small data on disk."""
    from unet_train.data.write_demo import write_demo

    folder = tmp_path_factory.mktemp("roots")
    write_images(folder / "folder")
    films = [f"{film}_{number}.png" for film in ("0001TP", "0006R0", "0016E5") for number in (1, 2)]
    write_images(
        folder / "camvid",
        names=films,
        image=lambda i, pixels: np.stack([pixels] * 3, -1),
        mask=lambda i, labels: (np.arange(labels.size, dtype=np.uint8) % 12).reshape(labels.shape),
    )
    for layout in ("challenge", "kaggle_3m"):
        write_demo(folder / layout, layout, images=7, groups=2, size=(128, 128))
    return {
        "demo": [],
        "folder": [f"dataset.root={folder / 'folder'}"],
        "isbi2012": [f"dataset.root={folder / 'folder'}"],
        "cells": [f"dataset.root={folder / 'folder'}"],
        "camvid": [f"dataset.root={folder / 'camvid'}"],
        "phc_u373": [f"dataset.root={folder / 'challenge'}"],
        "dic_hela": [f"dataset.root={folder / 'challenge'}"],
        "unet_paper": [f"dataset.root={folder / 'challenge'}"],
        "brain_mri": [f"dataset.root={folder / 'kaggle_3m'}"],
        "custom": ["dataset._target_=unet_train.data.layouts.demo.DemoSource"],
    }


CHOICES = [f for f in FILES if not f.name.startswith("_")]  # those that begin with _ are part of others


@pytest.mark.parametrize("file", CHOICES, ids=[f.relative_to(config_folder()).as_posix() for f in CHOICES])
def test_a_yaml_composes_and_its_objects_are_built(file, roots):
    group = file.parent.name
    if file.parent == config_folder():
        root = yaml.safe_load(file.read_text(encoding="utf-8"))
        needed = [f"{key}=x" for key, value in root.items() if value == "???"]
        compose_command(file.stem, [*needed, *(["dataset.root=x"] if file.stem == "data" else [])])
        return
    words = [f"{group}={file.stem}"]
    if group in ("dataset", "experiment"):
        words += roots.get(file.stem, [])
    if words == ["weights=file"]:
        words.append("weights.path=x")
    build(compose_command("train", words).config)


def build(config):
    """Every object of a training, the net without memory for its weights."""
    import torch

    from unet_train.data.augmentation.pipeline import build_augmentation
    from unet_train.data.targets import get_target
    from unet_train.models.spec import ModelSpec, build_model
    from unet_train.runs.factory import build_loss, build_source, build_split, encoder_params, settle_target
    from unet_train.training.optimizers import build_optimizer
    from unet_train.training.schedules import Schedule

    source = build_source(config.dataset)
    records = source.records()
    assert build_split(config.split, config.dataset, records).train
    settle_target(config, source, records, None)
    outputs = get_target(config.dataset.target, **config.dataset.target_params).outputs(source.classes)
    assert len(outputs) >= 2
    image = source.read_image(records[0])
    build_augmentation(config.augmentation.transforms, channels=image.shape[2])
    with torch.device("meta"):
        model = build_model(
            ModelSpec(
                encoder=encoder_params(config.encoder),
                in_channels=image.shape[2],
                outputs=list(outputs),
                head=config.model.head,
                decoder_channels=config.model.decoder_channels,
                norm=config.model.norm,
            )
        )
        optimizer = build_optimizer(model, **asdict(config.optimizer))
        logits = model.eval()(torch.zeros(1, image.shape[2], 64, 64))
    assert logits.shape == (1, len(outputs), 64, 64)
    assert optimizer.param_groups[0]["base_lr"] == config.optimizer.lr
    loss = build_loss(config.loss, len(outputs))
    target = torch.zeros(1, 8, 8, dtype=torch.uint8)
    assert loss(torch.zeros(1, len(outputs), 8, 8), target, torch.ones(target.shape)) > 0
    scheduler = asdict(config.scheduler)
    schedule = Schedule(total_updates=10, warmup_updates=scheduler.pop("warmup_steps"), **scheduler)
    assert all(0 <= schedule.factor(update) <= 1 for update in range(10))

"""Mutated words of a command line, YAML of run folders, of a user's own and of plans, and split files."""

from __future__ import annotations

import functools
import json
import random
import shutil
import string
from collections.abc import Callable
from pathlib import Path
from typing import Any

import yaml

from tests.stress.checkpoints import RUN, check_line, watched
from unet_train.errors import UserError, one_line

CASES = 5000

WORDS = {
    "train": [
        "dataset=demo",
        "dataset=folder",
        "dataset.root={root}",
        "encoder=unet",
        "encoder=resnet",
        "encoder=efficientnet",
        "encoder.depth=2",
        "encoder.variant=b0",
        "encoder._target_=os.system",
        "encoder.command=touch {canary}",
        "loss._target_=subprocess.run",
        "loss.args=[touch,{canary}]",
        "weights=random",
        "weights=imagenet",
        "weights.path={root}/x.pt",
        "trainer.epochs=3",
        "trainer.batch_size=2",
        "trainer.precision=bf16",
        "trainer.val_every=auto",
        "trainer.ema_decay=null",
        "optimizer=sgd",
        "optimizer.lr=0.01",
        "optimizer.betas=[0.9,0.99]",
        "scheduler=cosine",
        "scheduler.warmup_steps=10",
        "model.head=sigmoid",
        "model.decoder_channels=[8,4]",
        "augmentation=strong",
        "augmentation.crop_size=[32,64]",
        "loss.class_weights=auto",
        "loss.terms=[{{name:dice,weight:1.0}}]",
        "dataset.classes=[background,cell]",
        "dataset.values={{0:0,255:1}}",
        "dataset.target_params={{gap:2}}",
        "dataset.intensity_range=[0,4095]",
        "split.folds=5",
        "split.fold=0",
        "split.file=lgg22-test4",
        "seed=1",
        "checkpoint.monitor=iou/mean",
        "experiment=smoke",
        "experiment=demo",
        "+new.key=1",
        "~tile",
        "hydra.run.dir=runs/x",
        "resume=null",
        "plan=null",
    ],
    "predict": [
        "ckpt={root}/x.pt",
        "input={root}",
        "output=o",
        "tta=true",
        "tile.size=64",
        "intensity_range=[0,1]",
        "weights=brain_mri",
    ],
    "eval": [
        "ckpt={root}/x.pt",
        "part=test",
        "tta=false",
        "dataset=folder",
        "dataset.root={root}",
        "overlays=2",
        "split.fold=1",
    ],
    "export": ["ckpt={root}/x.pt", "format=onnx", "output=o", "pixels=uint8"],
    "data": ["dataset=folder", "dataset.root={root}", "output=o", "split.val_fraction=0.1"],
}
"""Words that are right in themselves; `{root}` is a folder that exists, `{canary}` a file that must not appear."""

ODD = [
    *(
        "",
        "null",
        "???",
        "true",
        "-1",
        "1e999",
        "nan",
        "inf",
        "0x10",
        "1_000",
        "9" * 30,
        "9" * 5000,
        "1.5",
        "''",
        '"',
        "'",
    ),
    *(
        "[]",
        "{{}}",
        "[[[",
        "{{a:",
        "${{oc.env:HOME}}",
        "${{seed}}",
        "${{a",
        "${{now:%Y}}",
        "a,b",
        "a b",
        "größe",
        "\x1b[31m",
        "\\",
        "~",
    ),
    *(
        "{{_target_:os.system,command:touch {canary}}}",
        "../../x",
        "/dev/null",
        "x" * 5000,
        "[" * 400 + "]" * 400,
        "\n",
        "=",
        "@",
        "%s",
    ),
    *(
        "choice(1,2)",
        "range(3)",
        "glob(*)",
        "int(3)",
        "override",
        "_self_",
        "_global_",
        "1:2:3",
        "2020-01-01",
        "!!python/name:os.system",
    ),
]


def run(seed: int, folder: Path) -> str:
    """One mutated config through one door; the outcome in a word.

    Raises
    ------
    AssertionError
        If a promise is broken.
    """
    chance = random.Random(seed)
    case = folder / f"case_{seed}"
    shutil.rmtree(case, ignore_errors=True)
    (case / "root").mkdir(parents=True)
    door = chance.choice(DOORS)
    canary = case / "executed"
    with watched(f"seed {seed}, {door.__name__}", canary):
        try:
            door(chance, case, canary)
            word = "composed"
        except UserError as error:
            check_line(one_line(str(error)))
            word = "refused"
    shutil.rmtree(case, ignore_errors=True)
    return f"{word} ({door.__name__})"


# --- the doors ----------------------------------------------------------------------------------------
def command_line(chance: random.Random, case: Path, canary: Path) -> None:
    """Words of any command, some of them mutated."""
    command = chance.choice(["train", "train", "train", "predict", "eval", "export", "data"])
    words = [
        place(word, case, canary)
        for word in chance.sample(WORDS[command], min(len(WORDS[command]), chance.randint(1, 5)))
    ]
    for _ in range(chance.choice([0, 1, 1, 2])):
        at = chance.randrange(len(words))
        words[at] = mutated_word(chance, words[at], case, canary)
    compose(command, words)


def own_yaml(chance: random.Random, case: Path, canary: Path) -> None:
    """A YAML of the user's own, in a folder named by --config-dir."""
    from unet_train.config.tree import config_folder

    group = chance.choice(
        ["experiment", "dataset", "encoder", "loss", "optimizer", "trainer", "augmentation"]
    )
    file = chance.choice(sorted((config_folder() / group).glob("[!_]*.yaml")))
    own = case / "conf" / group / "own.yaml"
    own.parent.mkdir(parents=True)
    own.write_bytes(mutated_yaml(chance, file.read_text(encoding="utf-8"), canary))
    compose("train", [f"{group}=own"], str(case / "conf"))


def run_folder(chance: random.Random, case: Path, canary: Path) -> None:
    """config.yaml of a run folder, by resume=."""
    from unet_train.config.checks import check_train
    from unet_train.config.compose import compose_train

    run = case / "run"
    run.mkdir()
    (run / "last.pt").touch()
    text = run_config().replace("root: drawn", f"root: {RUN / 'drawn'}")
    (run / "config.yaml").write_bytes(mutated_yaml(chance, text, canary))
    words = [f"resume={run}"]
    if chance.random() < 0.3:
        words.append(mutated_word(chance, place(chance.choice(WORDS["train"]), case, canary), case, canary))
    check_train(compose_train(words).config)


def plan(chance: random.Random, case: Path, canary: Path) -> None:
    """A plan, by plan=."""
    from unet_train.config.plans import lay_plan

    keys = dict(
        place(word, case, canary).split("=", 1)
        for word in chance.sample([w for w in WORDS["train"] if "=" in w][:-2], 6)
    )
    content = {
        key.lstrip("+~"): yaml.safe_load(value) if value[:1] not in "{[" else value
        for key, value in keys.items()
    }
    file = case / "plan.yaml"
    file.write_bytes(mutated_yaml(chance, yaml.safe_dump(content), canary))
    words = lay_plan([f"plan={file}"])
    if chance.random() < 0.3:
        compose("train", words)


def split_file(chance: random.Random, case: Path, canary: Path) -> None:
    """A split's JSON, by split.file=."""
    from unet_train.data.records import Record
    from unet_train.data.splits import SplitRule, make_split

    records = [
        Record(key=f"im_{i}", image=str(case / f"im_{i}.png"), group=f"im_{i}", labels={"gold": str(case)})
        for i in range(8)
    ]
    content = json.loads((RUN / "run" / "split.json").read_text(encoding="utf-8"))
    text = json.dumps(mutated_tree(chance, content, canary), default=str)
    data = mutated_bytes(chance, text.encode()) if chance.random() < 0.4 else text.encode()
    file = case / "split.json"
    file.write_bytes(data)
    make_split(records, SplitRule(file=str(file)))


DOORS: list[Callable[[random.Random, Path, Path], None]] = [
    *([command_line] * 3),
    *([run_folder] * 5),
    *([own_yaml] * 2),
    *([plan] * 2),
    *([split_file] * 3),
]


def compose(command: str, words: list[str], config_dir: str | None = None) -> None:
    """Compose and check as the command does, up to what needs torch."""
    from unet_train.config import checks
    from unet_train.config.compose import compose_command, compose_train
    from unet_train.runs.prediction_inputs import check_predict

    if command == "train":
        checks.check_train(compose_train(words, config_dir).config)
        return
    config = compose_command(command, words, config_dir).config
    if command == "predict":
        check_predict(config)
    elif command == "eval":
        checks.check_judged([config.ckpt] if config.ckpt else [], config.predictions, config.dataset)
        checks.check_own_encoder(config.encoder)
    elif command == "export":
        checks.check_whole_model([config.ckpt] if config.ckpt else [], config.weights)
    else:
        checks.check_dataset(config.dataset)


# --- what is mutated ----------------------------------------------------------------------------------
@functools.cache
def run_config() -> str:
    """config.yaml of the run."""
    return (RUN / "run" / "config.yaml").read_text(encoding="utf-8")


def place(word: str, case: Path, canary: Path) -> str:
    return word.format(root=case / "root", canary=canary)


def mutated_word(chance: random.Random, word: str, case: Path, canary: Path) -> str:
    """One word of a command line with something wrong in it."""
    key, _, value = word.partition("=")
    act = chance.randrange(6)
    if act == 0:
        return f"{key}={place(chance.choice(ODD), case, canary)}"
    if act == 1:
        at = chance.randrange(len(word) + 1)
        return word[:at] + chance.choice(string.printable) + word[at:]
    if act == 2:
        at = chance.randrange(len(word))
        return word[:at] + word[at + 1 :]
    if act == 3:
        return f"{key}{chance.choice(['.x', '@y', '_', '.0', '[0]', '..', '.kind', '.layout'])}={value}"
    if act == 4:
        return chance.choice(["+", "++", "~", "-", "--", "@", "hydra.", "a."]) + word
    return f"{key.partition('.')[0]}={value}"


def mutated_yaml(chance: random.Random, text: str, canary: Path) -> bytes:
    """YAML with something wrong in it: in its bytes, or in what it says."""
    act = chance.random()
    if act < 0.3:
        return mutated_bytes(chance, text.encode())
    if act < 0.4:
        return chance.choice(
            [
                b"",
                b"[]",
                b"a: &a [1]\nb: &b ["
                + b"*a," * 9
                + b"]\n"
                + b"".join(b"%c: &%c [" % (c, c) + b"*%c," % (c - 1) * 9 + b"]\n" for c in b"cdefghijk"),
                b"a: &a {x: *a}",
                b"dataset: &a [*a]",
                b"[" * 3000,
                b"{a: " * 3000,
                f"encoder: !!python/object/apply:os.system ['touch {canary}']".encode(),
                b"!!binary x: 1",
                b"a: 2020-01-01\nb: 2020-01-01 10:00:00",
                b"? [1, 2]\n: 3",
                b"a: 1\na: 2",
                b"--- 1\n--- 2",
                b"\x00\xff\xfe",
                b"a: !!set {x, y}\nb: !!omap [x: 1]",
                b"seed: " + b"9" * 6000,
                b"defaults: [nothing]",
                b"defaults:\n  - override /encoder: own\n",
                b"defaults: 3",
                b"# @package _global_\nencoder: null",
            ]
        )
    try:
        content = yaml.safe_load(text)
    except yaml.YAMLError:
        content = {}
    tree = mutated_tree(chance, content, canary)
    head = "".join(line + "\n" for line in text.splitlines() if line.startswith("# @package"))
    return (head + yaml.safe_dump(tree, sort_keys=False, allow_unicode=True)).encode()


def mutated_bytes(chance: random.Random, data: bytes) -> bytes:
    changed = bytearray(data)
    for _ in range(chance.choice([1, 1, 2, 5, 20])):
        at = chance.randrange(len(changed) + 1)
        act = chance.randrange(4)
        if act == 0 and at < len(changed):
            changed[at] = chance.randrange(256)
        elif act == 1:
            changed[at:at] = chance.choice(
                [b":", b"- ", b"{", b"[", b"\t", b"\n", b"&a ", b"*a", b"!!", b"'", b"${", b"#", b"\xc3"]
            )
        elif act == 2:
            del changed[at : at + chance.randint(1, 30)]
        else:
            changed[at:at] = changed[max(0, at - 40) : at]
    return bytes(changed)


def mutated_tree(chance: random.Random, content: Any, canary: Path) -> Any:
    """A tree with keys deleted, renamed, or given odd values."""
    for _ in range(chance.choice([0, 1, 1, 1, 2, 4])):
        if not isinstance(content, dict) or not content:
            return content
        holder, key = content, chance.choice(list(content))
        while isinstance(holder[key], dict | list) and holder[key] and chance.random() < 0.8:
            holder = holder[key]
            key = chance.choice(list(holder)) if isinstance(holder, dict) else chance.randrange(len(holder))
        act = chance.random()
        if act < 0.15:
            del holder[key]
        elif act < 0.25 and isinstance(holder, dict):
            holder[chance.choice([f"{key}_", "_target_", 7, None, "x.y", "", "${a}"])] = holder.pop(key)
        else:
            holder[key] = odd(chance, holder[key], canary)
    return content


def odd(chance: random.Random, value: Any, canary: Path) -> Any:
    if isinstance(value, int | float) and chance.random() < 0.4:
        return chance.choice([-value, value * 10**6, 0, 1e300, 10**30, str(value), True, float("nan")])
    return chance.choice(
        [
            *(
                None,
                True,
                0,
                -1,
                1.5,
                float("inf"),
                float("nan"),
                10**40,
                "",
                "x",
                "auto",
                "???",
                "${seed}",
                "${oc.env:HOME}",
                "${a",
            ),
            *(
                [],
                {},
                [None],
                [[1], [2]],
                {"a": 1},
                {1: 2},
                [1, "a"],
                "a\nb",
                "\x1b[0m",
                "y" * 50_000,
                list(range(2000)),
            ),
            {"_target_": "os.system", "command": f"touch {canary}"},
            {"_target_": 3},
            {"kind": "unet"},
            functools.reduce(lambda inner, _: {"a": inner}, range(chance.choice([5, 80])), 1),
            ["os.system", f"touch {canary}"],
        ]
    )

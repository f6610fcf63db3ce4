"""From the words of a command line to a plan: look at the data, choose, time a few steps."""

from __future__ import annotations

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import fields
from typing import Any

from unet_train.config.checks import check_train
from unet_train.config.compose import compose_train
from unet_train.config.plans import words_of
from unet_train.config.schema import SECTIONS, TrainConfig
from unet_train.data.check import check_source
from unet_train.data.layouts import AUTO
from unet_train.data.layouts.folder import FolderKeys
from unet_train.data.pairing.sequences import propose_group_regex
from unet_train.errors import UserError
from unet_train.models.encoders import EncoderKeys
from unet_train.planning.choose import (
    NO_WEIGHTS,
    Choice,
    choose,
    choose_length,
    postprocessing_seconds,
    without,
)
from unet_train.planning.figures import DataFigures, look_at_data
from unet_train.planning.kept import kept_choices
from unet_train.planning.pretrained import Pretrained, find_pretrained
from unet_train.planning.trial import machine_for, try_steps
from unet_train.planning.write import write_plan
from unet_train.runs.factory import build_source, build_split, needs_classes, settle_intensity_range
from unet_train.runs.orientation import orientation_of
from unet_train.runs.postprocessing import records_to_optimise_on

ORDER = ("dataset", "split", "encoder", "weights", "model", "augmentation", "loss", "trainer")
"""Of the sections in a plan."""

CROP_SIZE = "augmentation.crop_size"
START_SECONDS = 5.0
"""For Python, the libraries and the first validation image; the data are read in addition."""

_OTHER_CHOICES = {
    "experiment": "a recipe has made its choices, train it without a plan; or plan with dataset=… in its place",
    "plan": "is a plan already; train it, or change it by hand",
    "resume": "a run keeps the choices it was started with; leave plan=auto out",
}
"""Words that leave nothing to plan, and why."""


def make_plan(words: Sequence[str], minutes: float, config_dir: str | None = None) -> str:
    """The text of a plan; nothing is written.

    Parameters
    ----------
    words : sequence of str
        Keys as for ``unet-train``: the data set, and whatever else is decided already.
    minutes : float
        For the training.
    config_dir : str, optional
        The user's own YAML.

    Raises
    ------
    UserError
        As a training, before its first step; also where the data have faults, and for words that choose all by
        themselves: a recipe, a plan, a run.
    """
    for word in words:
        if word.partition("=")[0] in _OTHER_CHOICES:
            raise UserError(f"{word}: {_OTHER_CHOICES[word.partition('=')[0]]}")
    # Weights alone do not compose: the encoder that they are for is chosen below.
    about_weights = {
        name: value.strip("'\"")
        for name, _, value in (word.partition("=") for word in words)
        if name in ("weights", "weights.path")
    }
    # A scale by the objects' size is what a plan chooses anyway.
    left_to_us = {*about_weights} | ({"dataset.scale"} if f"dataset.scale={AUTO}" in words else set())
    words = [word for word in words if word.partition("=")[0] not in left_to_us]
    given = {word.partition("=")[0].lstrip("+~") for word in words}
    if "dataset" not in given:
        words.insert(0, "dataset=folder")
    composed = compose_train(words, config_dir)
    config, tree = composed.config, composed.tree
    check_train(config)
    if config.dataset.intensity_range is None:
        config.dataset.intensity_range = AUTO
    started = time.perf_counter()
    source = build_source(config.dataset)
    records = source.records()
    group_regex = None
    if isinstance(config.dataset, FolderKeys):
        group_regex = propose_group_regex(records)  # None where groups are known
    if group_regex is not None:
        config.dataset.group_regex = group_regex  # type: ignore[attr-defined]
        source = build_source(config.dataset)
        records = source.records()
    split = build_split(config.split, config.dataset, records)
    if settle_intensity_range(config.dataset, source, split.train):
        source = build_source(config.dataset)
    report = check_source(source, records)
    reading = time.perf_counter() - started
    if report.problems:
        raise UserError(
            f"{len(report.problems)} problems in the data, the first: {report.problems[0]}; unet-data check lists "
            "all"
        )
    data = look_at_data(source, records, report, split)
    machine = machine_for(config)
    pretrained, no_weights = _weights(config, given, about_weights)
    chosen = choose(
        data,
        machine,
        pretrained,
        orientation_of(source, split.train),
        group_regex,
        scale=config.dataset.scale if "dataset.scale" in given else None,
        no_weights=no_weights,
        classes_for=needs_classes(config),
    )
    chosen = without(chosen, given)
    trial = try_steps(
        [*words_of({c.key: c.value for c in chosen}), *words],
        config_dir,
        keep_crop=bool(given & {"augmentation", "augmentation.crop_size"}),
    )
    if trial.batch_size != config.trainer.batch_size:
        why = f"{config.trainer.batch_size} crops at once do not fit into memory"
        sizes = ("trainer.batch_size", "trainer.accumulate")
        chosen = [choice for choice in chosen if choice.key not in sizes]
        words = [word for word in words if word.partition("=")[0] not in sizes]
        chosen.append(Choice("trainer.batch_size", trial.batch_size, why))
        chosen.append(Choice("trainer.accumulate", trial.accumulate, "as many crops to a step all the same"))
    if trial.crop_size is not None:
        why = "a single larger crop does not fit into memory"
        chosen = [choice for choice in chosen if choice.key != CROP_SIZE]
        chosen.append(Choice(CROP_SIZE, trial.crop_size, why))
    decided = {choice.key for choice in chosen} | given
    final = compose_train([*words_of({c.key: c.value for c in chosen}), *words], config_dir).tree
    chosen = sorted([*chosen, *kept_choices(data, _flat(final), decided)], key=_place)
    took = trial.seconds
    # As at the end of a training: wherever objects are told apart, on a few validation images.
    tuned = len(records_to_optimise_on(split, records)) if data.objects and split.val else 0
    length = choose_length(
        minutes,
        took.step,
        took.image * len(split.val),
        trial.batch_size * trial.accumulate,
        postprocessing_seconds(tuned, data.height, data.width),
        before=START_SECONDS + reading,
        epoch_seconds=took.epoch,
    )
    title = [
        f"A plan for {minutes:g} minutes on {machine}. Train it: unet-train plan=FILE; keys on the command line win.",
        _describe(data, len(split.train), source.pairing),
    ]
    return write_plan(title, [*_given(words, tree), *chosen, *without(length, given)])


def _flat(tree: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the sections by their dotted names."""
    return {
        f"{section}.{name}": value
        for section, content in tree.items()
        if isinstance(content, dict)
        for name, value in content.items()
    }


def _place(choice: Choice) -> int:
    """Where a choice stands: the data first, the training last."""
    section = choice.key.partition(".")[0]
    return ORDER.index(section) if section in ORDER else len(ORDER)


def _weights(
    config: TrainConfig, given: Collection[str], about_weights: Mapping[str, str]
) -> tuple[Pretrained | None, str]:
    """The encoder to start from; why there is none.

    An encoder of which a key was given is kept: only its own weights are looked for.
    """
    kind = about_weights.get("weights", "imagenet")
    if kind not in ("imagenet", "random"):
        raise UserError(
            f"weights={kind}: a plan starts from imagenet or random weights; add others to the plan"
        )
    if kind == "random":
        return None, "as it was given"
    path = about_weights.get("weights.path")
    if not isinstance(config.encoder, EncoderKeys):
        found, why = None, "none are known for an encoder of your own"
    elif any(name.partition(".")[0] == "encoder" for name in given):
        encoder = config.encoder.kind
        keys = {f.name: getattr(config.encoder, f.name) for f in fields(config.encoder) if f.name != "kind"}
        found, why = (
            find_pretrained(path, encoder, keys),
            f"none for encoder={encoder} are in the cache or within reach",
        )
    else:
        found, why = find_pretrained(path, None), NO_WEIGHTS
    if found is None and about_weights:
        asked = next(f"{name}={value}" for name, value in about_weights.items())
        raise UserError(f"{asked}: {why}; weights=random plans without")
    return found, why


def _describe(data: DataFigures, training_images: int, pairing: str) -> str:
    shares = ", ".join(f"{name} {share:.1%}" for name, share in data.shares.items())
    objects = f"; {data.objects} objects, {data.diameter:.0f} pixels across" if data.objects else ""
    return (
        f"{data.images} images of {data.height}×{data.width}, {data.channels} channel{'s' * (data.channels != 1)}; "
        f"{training_images} train, {data.validation_images} validate; {shares}{objects}"
        f"{'; ' + pairing if pairing else ''}."
    )


def _given(words: Sequence[str], tree: dict[str, Any]) -> list[Choice]:
    """The keys that were typed, as they were understood."""
    choices = []
    for word in words:
        name, _, text = word.lstrip("+~").partition("=")
        if name.startswith("hydra."):
            continue
        value: Any = text
        if name not in SECTIONS:
            value = tree
            for part in name.split("."):
                value = value[part]
        choices.append(Choice(name, value, "as it was given" if name != "dataset" else "the data set"))
    return choices

"""The object rule is chosen on validation images, and where they cannot tell, for images with touching objects."""

from dataclasses import replace
from types import SimpleNamespace

import cv2
import numpy as np
from scipy import ndimage

from unet_train.data.records import Record, Truth
from unet_train.data.splits import Split
from unet_train.data.targets import get_target
from unet_train.data.targets.classes import SEED_THRESHOLDS
from unet_train.inference.objects import objects_from_maps
from unet_train.runs.postprocessing import MOST_IMAGES, records_to_optimise_on
from unet_train.training.evaluation import choose_postprocessing


def discs(*centres, size=160, radius=12):
    """Numbered discs, the later on top."""
    labels = np.zeros((size, size), np.int32)
    for number, (row, column) in enumerate(centres, start=1):
        cv2.circle(labels, (column, row), radius, number, -1)
    return labels


class ApartDiscs:
    """One image of four discs that do not touch."""

    def records(self):
        return [
            Record(key="1", image="1.png", group="g", labels={"gold": "x"}, trainable=True, scorable=True)
        ]

    def read_image(self, record):
        return ((self.truth() > 0) * np.uint8(200))[..., None]

    def read_truth(self, record, *, scoring=False):
        return Truth(classes=(self.truth() > 0).astype(np.uint8), instances=self.truth(), markers=None)

    def truth(self):
        return discs((40, 40), (40, 120), (120, 40), (120, 120))


class DepthPredictor:
    """Finds the foreground, and seeds that run together over the neck of a pair unless cut above 0.9."""

    data = SimpleNamespace(margin=0, normalisation="image")
    target = SimpleNamespace(object_maps=lambda outputs: outputs, seed_thresholds=SEED_THRESHOLDS)

    def predict(self, image, statistics=None):
        inside = image[..., 0] > 100
        depth = ndimage.distance_transform_edt(inside)
        seeds = np.clip(depth / 12, 0, 1) ** 0.12
        return SimpleNamespace(outputs=(inside.astype(np.float32), seeds.astype(np.float32)))


def test_where_nothing_touches_the_rule_still_parts_a_touching_pair():
    source, predictor = ApartDiscs(), DepthPredictor()
    rule, scores = choose_postprocessing(predictor, source, source.records())
    assert scores["seg"] > 0.98
    pair = discs((80, 70), (80, 92))
    image = ((pair > 0) * np.uint8(200))[..., None]
    foreground, seeds = predictor.predict(image).outputs
    assert objects_from_maps(foreground, seeds, replace(rule, seed_threshold=0.9)).max() == 1
    assert objects_from_maps(foreground, seeds, rule).max() == 2


def test_a_target_says_which_seed_thresholds_make_sense():
    """Where nothing touches every threshold is equally good, and the highest would cut an unsure core to pieces."""
    predictor = DepthPredictor()
    predictor.target = SimpleNamespace(
        object_maps=predictor.target.object_maps,
        seed_thresholds=get_target("foreground_core").seed_thresholds,
    )
    source = ApartDiscs()
    rule, scores = choose_postprocessing(predictor, source, source.records())
    assert rule.seed_threshold == 0.9
    assert scores["seg"] > 0.98


def test_frames_between_the_gold_ones_of_a_validation_block_help_to_choose():
    def record(order, gold=False, group="01"):
        labels = {"silver": "s"} | ({"gold": "g"} if gold else {})
        return Record(
            key=f"{group}/{order:03d}",
            image="x",
            group=group,
            order=order,
            labels=labels,
            trainable=True,
            scorable=gold,
        )

    records = [record(i, gold=i in (20, 40)) for i in range(60)] + [record(30, group="02")]
    train = [r for r in records if r.order < 18 and r.group == "01"]
    val = [r for r in records if r.scorable]
    chosen = records_to_optimise_on(Split(train, val, [records[-1]]), records)
    assert chosen[:2] == val
    assert len(chosen) == MOST_IMAGES
    assert all(20 < r.order < 40 and r.group == "01" for r in chosen[2:])
    many = [record(i, gold=True) for i in range(30)]
    assert records_to_optimise_on(Split(train, many, []), many) == many[:MOST_IMAGES]

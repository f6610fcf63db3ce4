"""Whether a run's images have an up, and the augmentation that follows from it."""

from __future__ import annotations

from collections.abc import Sequence

from unet_train.config.compose import Composed
from unet_train.config.schema import TrainConfig
from unet_train.data.augmentation.orientation import decide, look, sample
from unet_train.data.augmentation.pipeline import (
    ORIENTATIONS,
    Augmentation,
    build_augmentation,
    oriented,
)
from unet_train.data.records import Record, Source
from unet_train.errors import UserError
from unet_train.runs.training_data import TrainingData


def augmentation_for(composed: Composed[TrainConfig], data: TrainingData) -> tuple[Augmentation, list[str]]:
    """The transforms that `augmentation.orientation` leaves; what ``auto`` decided, in a line.

    The run's config keeps the decision in place of ``auto``, so that a resumed run cannot decide otherwise.
    """
    section = composed.config.augmentation
    matters = section.touching_share > 0 or oriented(section.transforms, "upright") != section.transforms
    said = []
    if section.orientation == "auto" and matters:
        section.orientation, reason = orientation_of(data.source, data.split.train)
        composed.tree["augmentation"]["orientation"] = section.orientation
        other = (
            "any adds vertical flips and quarter turns"
            if section.orientation == "upright"
            else "upright leaves out vertical flips and turns"
        )
        said = [f"orientation {section.orientation}: {reason}; augmentation.orientation={other}"]
    left = section.orientation if section.orientation in ORIENTATIONS else "any"
    return build_augmentation(oriented(section.transforms, left), check=False), said


def orientation_of(source: Source, records: Sequence[Record]) -> tuple[str, str]:
    """``any`` or ``upright``, as the source says or its training masks do, and why.

    Raises
    ------
    UserError
        Where a source of the user's own says something else.
    """
    says = source.orientation
    if says not in ("any", "upright", "auto"):
        raise UserError(
            f"dataset={source.name}: its orientation is {says!r}; any, upright or auto can be meant"
        )
    if says != "auto":
        what = "an" if says == "upright" else "no"
        return says, f"the images of dataset={source.name} are taken to have {what} up"
    # Neighbours beside each other, in whatever order a split names them.
    records = sorted(records, key=lambda record: (record.group, record.order, record.key))
    chosen = [records[index] for index in sample(len(records))]
    maps = ((record.group, source.read_truth(record).classes) for record in chosen)
    return decide(*look(maps, len(source.classes)), source.classes)

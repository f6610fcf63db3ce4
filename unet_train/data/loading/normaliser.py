"""The statistics every record is standardised with; those of a volume are computed once."""

from __future__ import annotations

import numpy as np

from unet_train.data.records import Record, Source
from unet_train.errors import UserError
from unet_train.preprocessing.intensity import (
    MODES,
    VOLUME_MODES,
    Statistics,
    own_statistics,
    volume_statistics,
)


class Normaliser:
    """Gives every record the statistics of one mode; a group's volume is read once, when first needed.

    Parameters
    ----------
    source : Source
    mode : {'fixed', 'image', 'volume', 'brain'}
        fixed: none, the model uses its own mean and std; image: of the whole image at native size; volume,
        brain: of all records of the same group in their order, whichever part of the split they are in (no
        label is looked at), see `volume_statistics`.

    Raises
    ------
    UserError
        Another mode.
    """

    def __init__(self, source: Source, mode: str):
        if mode not in MODES:
            raise ValueError(f"{mode} is no mode, choose one of {', '.join(MODES)}")
        self.source = source
        self.mode = mode
        self._volumes: dict[str, Statistics] = {}
        self._members: dict[str, list[Record]] | None = None

    def statistics(self, record: Record, image: np.ndarray | None = None) -> Statistics | None:
        """Statistics of one record, None under ``fixed``.

        Parameters
        ----------
        record : Record
        image : ndarray, optional
            The record's image at native size, if it has been read already.
        """
        if self.mode == "fixed":
            return None
        if self.mode not in VOLUME_MODES:
            return own_statistics(self.source.read_image(record) if image is None else image, self.mode)
        if record.group not in self._volumes:
            if self._members is None:
                self._members = {}
                for member in self.source.records():
                    self._members.setdefault(member.group, []).append(member)
            members = sorted(self._members.get(record.group) or [record], key=lambda member: member.order)
            try:
                self._volumes[record.group] = volume_statistics(
                    map(self.source.read_image, members), self.mode
                )
            except ValueError as error:
                raise UserError(
                    f"dataset.normalisation={self.mode}, group '{record.group}': {error}; "
                    "use normalisation=image"
                ) from error
        return self._volumes[record.group]

"""TensorBoard behind three calls, so that the training loop knows nothing of its library."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

LOSSES = ("train/loss", "val/loss")
"""What the Custom Scalars tab shows in one card."""


class ScalarWriter:
    """Writes scalars and pictures into a TensorBoard folder.

    Parameters
    ----------
    directory : path
        Made if it does not exist.
    purge_step : int or None
        On resume: the step from which on earlier entries are void. TensorBoard then hides what an interrupted
        run has written at this step and after it.

    Notes
    -----
    May be used as a context manager. After `close` nothing more may be written.
    """

    def __init__(self, directory: str | Path, purge_step: int | None = None) -> None:
        # Here, not above: the import takes most of a second, and prediction needs none of it.
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(directory), purge_step=purge_step)

    def scalars(self, values: Mapping[str, float | None], step: int) -> None:
        """Write numbers under their own names.

        Parameters
        ----------
        values : mapping of str to float
            NaN and None (a class that does not occur) are left out: TensorBoard would draw them as a failure.
        step : int
            Position on the x axis.
        """
        for name, value in values.items():
            if value is not None and not math.isnan(value):
                # float32 in the file. The newer form keeps double precision, but TensorBoard's own reader
                # (EventAccumulator.Scalars) and the tools built on it do not find scalars in it.
                self._writer.add_scalar(name, float(value), step)

    def image(self, name: str, picture: np.ndarray, step: int) -> None:
        """Write one picture, H×W×3 uint8.

        Raises
        ------
        ValueError
            On another shape or dtype.
        """
        if picture.ndim != 3 or picture.shape[2] != 3 or picture.dtype != np.uint8:
            raise ValueError(f"a picture must be H×W×3 uint8, not {picture.shape} {picture.dtype}")
        self._writer.add_image(name, picture, step, dataformats="HWC")

    def hyperparameters(self, values: Mapping[str, Any], scores: Sequence[str]) -> None:
        """Write a row of the HParams tab, and the tab's card with the losses together.

        Parameters
        ----------
        values : mapping of str to value
            Text, numbers and truth values stand as they are, anything else as text.
        scores : sequence of str
            Names of the scalars that the row shows, by their latest value.
        """
        from torch.utils.tensorboard.summary import hparams

        plain = {n: v if isinstance(v, bool | int | float | str) else str(v) for n, v in values.items()}
        experiment, session, _ = hparams(plain, dict.fromkeys(scores, 0.0))
        # Not SummaryWriter.add_hparams, which makes a run of its own for them, apart from the curves.
        for summary in (experiment, session):
            self._writer.file_writer.add_summary(summary)  # type: ignore[attr-defined]  # None until the first event
        self._writer.add_custom_scalars({"loss": {"training and validation": ["Multiline", list(LOSSES)]}})

    def text(self, name: str, text: str, step: int = 0) -> None:
        """Write a text (Markdown)."""
        self._writer.add_text(name, text, step)

    def flush(self) -> None:
        """Make everything written so far visible to readers."""
        self._writer.flush()

    def close(self) -> None:
        """Write what is left and close the file."""
        self._writer.close()

    def __enter__(self) -> ScalarWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

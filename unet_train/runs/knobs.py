"""What a command asks of a model that is otherwise than in its checkpoint: threshold, objects' parameters, scale."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from unet_train.config.schema import EvalConfig, PredictConfig
from unet_train.errors import UserError
from unet_train.inference.objects import DEFAULT_PARAMETERS
from unet_train.inference.predictor import Predictor
from unet_train.nearest import nearest
from unet_train.overrides import as_override


@dataclass(frozen=True)
class Knobs:
    """Values that take the place of a checkpoint's own; None or empty: as in the checkpoint.

    Attributes
    ----------
    threshold : float, {class: float} or None
        Probability from which a pixel of a model of two classes is foreground.
    objects : dict of str to number
        Parameters of `inference.objects.PostprocessingParameters`.
    scale : float or None
        Working over native resolution.
    ignore_below : float
        Probability of a pixel's class below which it is unknown; 0 for none. Of `unet-predict` alone.
    """

    threshold: Any = None
    objects: dict[str, Any] = field(default_factory=dict)
    scale: float | None = None
    ignore_below: float = 0.0

    @classmethod
    def of(cls, config: EvalConfig | PredictConfig) -> Knobs:
        """As a command was told."""
        values = {f.name: getattr(config.objects, f.name) for f in fields(config.objects)}
        return cls(
            config.threshold,
            {name: value for name, value in values.items() if value is not None},
            config.scale,
            config.ignore_below if isinstance(config, PredictConfig) else 0.0,
        )

    @property
    def words(self) -> list[str]:
        """What is set, as typed on a command line."""
        given = {"threshold": self.threshold, "scale": self.scale, "ignore_below": self.ignore_below or None}
        given |= {f"objects.{name}": value for name, value in self.objects.items()}
        return [as_override(key, value) for key, value in given.items() if value is not None]

    def applied(self, predictor: Predictor) -> Predictor:
        """The predictor with these values.

        Raises
        ------
        UserError
            A threshold for a class that is not there or for a model of more than two, parameters of objects for a
            model without objects, a value out of range.
        """
        threshold = _threshold(self.threshold, predictor.data.classes)
        rule = predictor.postprocessing
        if self.objects:
            if not predictor.data.has_instances:
                raise UserError(
                    f"objects.{next(iter(self.objects))}: this model was trained on {predictor.data.name}, which does "
                    "not tell objects apart; leave it out"
                )
            rule = replace(rule or DEFAULT_PARAMETERS, **self.objects)
        data = predictor.data if self.scale is None else replace(predictor.data, scale=float(self.scale))
        return replace(
            predictor, data=data, postprocessing=rule, threshold=threshold, ignore_below=self.ignore_below
        )


def _threshold(given: Any, classes: tuple[str, ...]) -> float | None:
    """The threshold of the foreground class."""
    if given is None:
        return None
    if len(classes) != 2:
        raise UserError(
            f"threshold={given}: this model has {len(classes)} classes ({', '.join(classes)}), of which the most "
            "probable is taken; a threshold is for two"
        )
    if isinstance(given, dict):
        names = [str(name) for name in given]
        if names != [classes[1]]:
            other = next((name for name in names if name != classes[1]), "")
            raise UserError(
                f"threshold: {other or 'no class'} is not the class that a threshold is for, which is "
                f"{classes[1]}{nearest(other, classes[1:])}"
            )
        given = given[next(iter(given))]
    if isinstance(given, bool) or not isinstance(given, int | float) or not 0 <= given < 1:
        raise UserError(f"threshold={given}: a number from 0 to below 1")
    return float(given)

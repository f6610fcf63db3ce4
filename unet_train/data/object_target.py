"""Which target parts objects, and how wide its rim is: one rule, for ``dataset.target=auto`` and for plans."""

from __future__ import annotations

from typing import Any

RIM_SHARE = 1 / 14
NARROWEST_RIM, WIDEST_RIM = 2, 8
"""Width of the rim over the objects' diameter, and its bounds in pixels."""


def object_target(diameter: float, is_pretrained: bool) -> tuple[str, dict[str, Any], str]:
    """The target for one class of objects on a background.

    A random start is not sure of the cores for long (SEG 0.39 to 0.56 after 400 steps, docs/results.md), so only a
    pretrained encoder learns them.

    Parameters
    ----------
    diameter : float
        Median of the objects', in native pixels.
    is_pretrained : bool
        Whether the encoder starts from weights that were learnt.

    Returns
    -------
    name : str
        Of `data.targets`.
    parameters : dict
    what : str
        What becomes a class, in words.
    """
    width = max(NARROWEST_RIM, min(WIDEST_RIM, round(diameter * RIM_SHARE)))
    if is_pretrained:
        return "foreground_core", {"width": width}, "the middle of each"
    return "foreground_border", {"width": width}, "a rim inside each outline"

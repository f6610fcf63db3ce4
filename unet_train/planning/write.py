"""A plan as a YAML file: each key under the reason for it."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from typing import Any

import yaml

from unet_train.planning.choose import Choice

_WIDTH = 100


def write_plan(title: Sequence[str], choices: Sequence[Choice]) -> str:
    """The text of a plan.

    Parameters
    ----------
    title : sequence of str
        Lines about the data and the machine.
    choices : sequence of Choice
        In the order in which they are to be read.
    """
    lines = [f"# {line}" for text in title for line in textwrap.wrap(text, _WIDTH)]
    for choice in choices:
        lines += ["", *(f"# {line}" for line in textwrap.wrap(choice.reason, _WIDTH))]
        lines.append(f"{choice.key}: {_value(choice.value)}")
    return "\n".join(lines) + "\n"


def _value(value: Any) -> str:
    text: str = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000)
    return text.removesuffix("...\n").strip()

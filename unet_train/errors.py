"""The one exception for everything a user can put right."""


class UserError(Exception):
    """Bad input or configuration: one line that names the file or key, what is wrong and what to do.

    The commands print the message without a traceback and end with exit code 2.
    """


LONGEST = 2000
"""Characters of a message; of a longer one the beginning, which names the file, and the end, which says what to do."""


def one_line(text: str) -> str:
    """A message as it is shown: in one line of bearable length, with nothing in it that a terminal obeys.

    Names and contents of files, which may be quoted in it, hold line breaks, control characters and bytes that are no
    text: whitespace is made single, and what cannot be shown is written as an escape.
    """
    text = " ".join(text.split())
    if not text.isprintable():
        text = "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)
    return text if len(text) <= LONGEST else f"{text[: LONGEST - 700]} … {text[-600:]}"


_ELSEWHERE = {
    "predict": {
        "dataset.intensity_range": "intensity_range",
        "or say dataset.channels": "or train with dataset.channels",
        "trainer.precision": "precision",
        "trainer.accelerator": "accelerator",
    },
    "eval": {"trainer.precision": "precision", "trainer.accelerator": "accelerator"},
    "load": {
        "weights.path=": "weights_path=",
        "trainer.precision": "precision",
        "trainer.accelerator": "accelerator",
    },
    "hub": {"weights.path=": "pretrained="},
}


def in_terms_of(command: str, message: str) -> str:
    """A message with the keys named as this command (or function) has them: ``intensity_range`` in unet-predict."""
    for key, here in _ELSEWHERE.get(command, {}).items():
        message = message.replace(key, here)
    return message

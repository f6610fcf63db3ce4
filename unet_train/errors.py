"""The one exception for everything a user can put right."""


class UserError(Exception):
    """Bad input or configuration: one line that names the file or key, what is wrong and what to do.

    The commands print the message without a traceback and end with exit code 2.
    """


def one_line(text: str) -> str:
    """A message as it is shown: whitespace made single, and what no terminal or file can show written as an escape.

    Names of files may hold line breaks, control characters (which would colour or clear the terminal) and bytes that
    are no text.
    """
    text = " ".join(text.split())
    if text.isprintable():
        return text
    return "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode() for letter in text
    )


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

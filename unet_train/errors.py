"""The one exception for everything a user can put right."""


class UserError(Exception):
    """Bad input or configuration: one line that names the file or key, what is wrong and what to do.

    The commands print the message without a traceback and end with exit code 2.
    """


_ELSEWHERE = {
    "predict": ("dataset.intensity_range", "trainer.precision", "trainer.accelerator"),
    "eval": ("trainer.precision", "trainer.accelerator"),
}


def in_terms_of(command: str, message: str) -> str:
    """A message with the keys named as this command has them: ``intensity_range`` in unet-predict."""
    for key in _ELSEWHERE.get(command, ()):
        message = message.replace(key, key.partition(".")[2])
    return message

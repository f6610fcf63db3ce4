"""The one exception for everything a user can put right."""


class UserError(Exception):
    """Bad input or configuration: one line that names the file or key, what is wrong and what to do.

    The commands print the message without a traceback and end with exit code 2.
    """

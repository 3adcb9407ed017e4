"""The exception for user errors, which commands print as a sentence without a traceback."""

import difflib
from collections.abc import Iterable


class UserError(Exception):
    """An error that the user can fix; the message says what is wrong and how to fix it."""


def nearest(name: str, choices: Iterable[str]) -> str:
    """Returns the closest valid name as a hint, or all of them when none is close.

    >>> nearest('cosin', ['cosine', 'step'])
    "did you mean 'cosine'?"
    >>> nearest('zzz', ['cosine', 'step'])
    'known: cosine, step'
    """
    choices = sorted(choices)
    close = difflib.get_close_matches(name, choices, n=1, cutoff=0.5)
    return f"did you mean '{close[0]}'?" if close else f'known: {", ".join(choices)}'


def first_line(error: BaseException) -> str:
    """Returns the first line of an exception's message, for quoting it.

    >>> first_line(ValueError('no such file\\nTraceback...')), first_line(EOFError())
    ('no such file', 'EOFError')
    """
    return (str(error) or type(error).__name__).splitlines()[0]

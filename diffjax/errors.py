"""The one exception that means "the user can mend this"."""


class UserError(ValueError):
    """A mistake in what the user gave: a field, a flag, a file.

    The message is one line that names the field or file, says what was expected and what to do. Scripts print
    it on stderr and exit with code 2; in a notebook it is an ordinary `ValueError`.
    """

"""The one exception a user is meant to read."""


class UserError(ValueError):
    """Input that the user can mend: one sentence that says what is wrong and what to do.

    Command lines print it after ``error:`` and exit with code 1; everything else is a bug and keeps its traceback.
    """


class AssumptionWarning(UserWarning):
    """A value that could not be read was assumed; command lines print it after ``note:``."""

"""What a user can put right: one clear line instead of a traceback."""


class InputError(ValueError):
    """The data, a file or a setting is not what the program needs.

    The message names what was found, what was expected and what to do.
    The command line prints it alone and ends with status 1.
    """


class UsageError(InputError):
    """A name that does not exist was asked for; the message lists the choices.

    The command line ends with status 2.
    """


def choose(kind, name, choices):
    """Return `name` if it is one of `choices`, else raise `UsageError` listing them."""
    if name in choices:
        return name
    raise UsageError(f"unknown {kind} {name!r}: choose from {', '.join(choices)}")

"""The errors that a user can cause and fix.

Errors about a wrong value are also `ValueError`s, as users of Keras expect.
"""


class NervecegError(Exception):
    """One line that names the file or argument at fault and how to fix it.

    Messages write arguments as `name=VALUE`. The command line prints a message without a traceback,
    with its own options in place of arguments, and exits with code 2.
    """


class NervecegWarning(UserWarning):
    """Something that a user should know about a result; the command line prints it as a note."""


class FrameError(NervecegError, ValueError):
    """A frame or mask that cannot be used."""


class LayoutError(NervecegError, ValueError):
    """A folder whose frames and masks cannot be paired."""


class SubjectError(NervecegError, ValueError):
    """A split that is not possible with these subjects."""


class ModelError(NervecegError, ValueError):
    """A model that cannot be built, loaded or combined with these arguments."""


class WeightsUnavailableError(ModelError):
    """Pretrained weights that could not be downloaded, or that do not exist."""


class TrainingError(NervecegError):
    """A training that cannot continue; not a `ValueError`, because no argument is wrong."""


class RunError(NervecegError, ValueError):
    """A run folder that is missing or incomplete, or an output that cannot be written."""


class ServingError(NervecegError):
    """A model server that cannot be reached, or that refused a request."""

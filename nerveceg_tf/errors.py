"""The errors that a user can cause and mend."""


class NervecegError(Exception):
    """One line that names the file or option at fault and how to mend it.

    The command line prints it without a traceback and exits with code 2.
    """


class NervecegWarning(UserWarning):
    """Something that a user should know of a result; the command line prints it as a note."""


class FrameError(NervecegError):
    """A frame or mask that cannot be used."""


class LayoutError(NervecegError):
    """A folder whose frames and masks cannot be paired."""


class SubjectError(NervecegError):
    """A split that the subjects at hand do not allow."""


class ModelError(NervecegError):
    """A model that cannot be built, loaded or combined as asked."""


class WeightsUnavailableError(ModelError):
    """Pretrained weights that could not be downloaded, or that do not exist."""


class TrainingError(NervecegError):
    """A training that cannot go on."""


class RunError(NervecegError):
    """A run folder that is missing, incomplete or in the way."""


class ServingError(NervecegError):
    """A model server that cannot be reached, or that refused a request."""

"""Every error the craft raises.

::

    ModelError
    ├── ShapeError         a shape, an outline or a transform is not what it claims to be
    ├── KeyframeError      key times out of order, or a frame that no key covers
    ├── FormatError        a shape file cannot be read (carries the line)
    │   └── NoRotoError        well formed, but there is no roto node in it
    ├── PlateError         a frame that is missing, of another size or of another type
    ├── WeightsError       a weights file or a tensor of the wrong name, shape or type
    │   └── PrivateWeightsError  weights tuned on private shots were about to be sent or built upon
    └── PredictionError    a prediction that cannot be made from what was given

The text of an error says what, with the values, and what to do next. Only a command line turns it
into output; any other exception is a bug and keeps its traceback.
"""

from __future__ import annotations


class ModelError(Exception):
    """Base of all errors raised in ``model``."""


class ShapeError(ModelError):
    """A shape, an outline or a transform breaks a rule of ``model.shapes``."""


class KeyframeError(ModelError):
    """Key times or values cannot be interpolated as they stand."""


class FormatError(ModelError):
    """A shape file cannot be read.

    Attributes:
        line: 1-based line of the problem in the file, or None where no single line is to blame.
    """

    def __init__(self, message: str, *, line: int | None = None) -> None:
        super().__init__(message if line is None else f"line {line}: {message}")
        self.line = line


class NoRotoError(FormatError):
    """The file is well formed but holds no roto node."""


class PlateError(ModelError):
    """A frame is missing, has another size or another type than its neighbours."""


class WeightsError(ModelError):
    """Weights do not fit: a name, a shape, a type, a size limit or a value that is not finite."""


class PrivateWeightsError(WeightsError):
    """Weights that were tuned on private shots stood where only public ones may."""


class PredictionError(ModelError):
    """A prediction cannot be made from the keys and frames given."""

"""Which errors say that something cannot be measured of a model, and so end no more than that."""

from __future__ import annotations

from pellucid.types import InputError
from pellucid.utils.digests import DamageError
from pellucid.utils.system_errors import of_the_disk


def is_reason(error: BaseException) -> bool:
    """Whether an error says that something cannot be measured of this model: else all of the work ends with it.

    What a user can mend and what torch cannot compute are reasons; a full disk, damaged results, or a mistake of ours
    is none.

    Example:
        >>> is_reason(InputError("it has no boxes")), is_reason(NotImplementedError("explain"))
        (True, False)
        >>> is_reason(NotImplementedError("Could not run 'quantized::linear' with arguments from the 'CUDA' backend"))
        True
    """
    if isinstance(error, NotImplementedError):  # torch's own, of an operator that a device or a data type lacks
        return "::" in str(error)
    if isinstance(error, DamageError | RecursionError) or of_the_disk(error):
        return False
    return isinstance(error, InputError | RuntimeError | MemoryError)

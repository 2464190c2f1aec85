"""The device that a name means."""

from __future__ import annotations

from pellucid.types import InputError


def pick_device(name: str) -> str:
    """`auto` as the best device there is; any other name as it is, if torch has it.

    Raises:
        InputError: for a device that is unknown or absent.
    """
    import torch

    if name == "auto":
        return "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
    if name not in ("cpu", "cuda", "mps"):
        raise InputError(f"--device must be auto, cpu, cuda or mps; found {name!r}.")
    present = {"cpu": True, "cuda": torch.cuda.is_available(), "mps": torch.backends.mps.is_available()}
    if not present[name]:
        raise InputError(f"--device {name}, but torch sees no such device. Use --device auto.")
    return name

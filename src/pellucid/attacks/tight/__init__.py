"""`tight`, the default attack for the smallest perturbation."""

from pellucid.attacks.tight.schedule import EFFORTS, check_effort, tight

__all__ = ["EFFORTS", "check_effort", "tight"]

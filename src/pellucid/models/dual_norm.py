"""Two sets of batch norm in one network: one for clean images, one for adversarial ones."""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from torch import Tensor, nn

from pellucid.models.surgery import replace_modules
from pellucid.types import InputError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

CLEAN, ADVERSARIAL = 0, 1


class DualBatchNorm2d(nn.BatchNorm2d):
    """Two complete batch norms, weights and statistics, of which one is in use at a time.

    Clean and adversarial images have different statistics; one norm for both fits neither. Set 0, the norm itself, is
    for clean images and what evaluation uses; set 1, `adversarial`, for adversarial ones (`using_norm`). Set 0 has the
    names that a plain norm has in the weights file and set 1 further ones (`….adversarial.weight`); a plain network's
    weights are loaded into both.

    Attributes:
        which: 0 or 1, the set in use.
        adversarial: set 1.

    Source:
        Xie et al. 2020, arXiv 1911.09665 (auxiliary batch norm); Han et al. 2021, Nature Communications 12:4315, for
        radiographs.
    """

    def __init__(
        self,
        num_features: int,
        eps: float = 1e-5,
        momentum: float | None = 0.1,
        affine: bool = True,
        track_running_stats: bool = True,
    ) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        self.adversarial = nn.BatchNorm2d(num_features, eps, momentum, affine, track_running_stats)
        self.which = CLEAN

    @classmethod
    def of(cls, norm: nn.BatchNorm2d) -> DualBatchNorm2d:
        """Both sets as the given norm is: settings, weights, statistics, device and whether they are trained."""
        dual = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, old in (*norm.named_parameters(), *norm.named_buffers()):
            for half in (dual, dual.adversarial):
                new = old.detach().clone()
                setattr(half, name, nn.Parameter(new, old.requires_grad) if isinstance(old, nn.Parameter) else new)
        return dual

    def forward(self, x: Tensor) -> Tensor:
        """(N, D, h, w) → the same, by the set in use."""
        result: Tensor = self.adversarial(x) if self.which == ADVERSARIAL else super().forward(x)
        return result

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:  # noqa: ANN401
        state_dict.update(_missing_half(self, state_dict, prefix))
        super()._load_from_state_dict(state_dict, prefix, *args)


def dual_batch_norm(module: nn.Module) -> int:
    """Put a `DualBatchNorm2d` in the place of each `nn.BatchNorm2d`, in place; both sets start as the old norm is.

    Returns:
        How many were replaced.

    Raises:
        InputError: the network has no `nn.BatchNorm2d`, or is one; or it has two sets already.

    Source:
        Xie et al. 2020, arXiv 1911.09665 (auxiliary batch norm).

    Example:
        >>> net = nn.Sequential(nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU())
        >>> dual_batch_norm(net)
        1
        >>> sorted(name for name in net.state_dict() if "weight" in name)
        ['0.weight', '1.adversarial.weight', '1.weight']
    """
    if has_dual_norm(module):
        raise InputError("the network has two sets of batch norm already.")
    count = replace_modules(module, lambda part: isinstance(part, nn.BatchNorm2d), _dual)
    if not count:
        raise InputError("the network has no nn.BatchNorm2d of which there could be two sets.")
    return count


def has_dual_norm(module: nn.Module) -> bool:
    """Whether a network has two sets of batch norm."""
    return any(isinstance(part, DualBatchNorm2d) for part in module.modules())


@contextmanager
def using_norm(module: nn.Module, which: int) -> Iterator[None]:
    """Inside, a network normalises with set 0 (clean) or 1 (adversarial); afterwards with the one from before.

    Only the set in use sees the images: its statistics follow them in training mode, its weights get the gradient. A
    backward pass belongs to the forward pass that it comes from, and may stand outside.

    Raises:
        InputError: another number, or a network with one set only.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.BatchNorm2d(1))
        >>> _ = dual_batch_norm(net)
        >>> with using_norm(net, 1):
        ...     _ = net(torch.ones(2, 1, 4, 4))
        >>> net[0].running_mean, net[0].adversarial.running_mean
        (tensor([0.]), tensor([0.1000]))
    """
    if which not in (CLEAN, ADVERSARIAL):
        raise InputError(f"a network has batch norm 0 (clean) and 1 (adversarial); found {which!r}.")
    norms = [(part, part.which) for part in module.modules() if isinstance(part, DualBatchNorm2d)]
    if not norms:
        raise InputError(
            "the network has one set of batch norm: make it with create_model(..., batch_norms=2), "
            "or call dual_batch_norm on it."
        )
    try:
        for norm, _ in norms:
            norm.which = which
        yield
    finally:
        for norm, before in norms:
            norm.which = before


def for_both_norms(module: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights for a network, those of a plain one completed: its norms' are put into both sets.

    Weights that name set 1 of a norm are left as they are.
    """
    completed = dict(state)
    for name, part in module.named_modules():
        if isinstance(part, DualBatchNorm2d):
            completed.update(_missing_half(part, completed, f"{name}." if name else ""))
    return completed


def _missing_half(norm: DualBatchNorm2d, state: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    """Set 1 as set 0, where the weights have nothing at all of set 1."""
    names = list(norm.adversarial.state_dict())
    if any(f"{prefix}adversarial.{name}" in state for name in names):
        return {}
    return {f"{prefix}adversarial.{name}": state[prefix + name] for name in names if prefix + name in state}


def _dual(norm: nn.Module) -> DualBatchNorm2d:
    assert isinstance(norm, nn.BatchNorm2d)
    return DualBatchNorm2d.of(norm)

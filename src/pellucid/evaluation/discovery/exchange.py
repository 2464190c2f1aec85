"""What a classifier answers when a part of one image is put into another: how much each image's part is worth.

An image (the donor) gives what it shows at a window, or its statistic, to another one (the recipient). Several donors
give to the same recipients, so that how they differ is due to the donors alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from pellucid.models.classifier import frozen
from pellucid.models.inference import as_pixels, in_batches
from pellucid.types import device_of
from pellucid.utils.progress import advance

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Protocol

    import numpy.typing as npt
    from torch import Tensor, nn

    from pellucid.types import Pixels, Task

    Rows = npt.NDArray[np.int64]

    class Exchange(Protocol):
        """A way to put something of one image into another."""

        def __call__(self, recipients: Tensor, donors: Tensor, rows: Rows, onto: Rows) -> Tensor:
            """Recipients (N, C, H, W) in [0, 1], the images `onto` (N,), with something of the donors, `rows` (N,)."""
            ...


def log_odds(logits: Tensor, task: Task) -> Tensor:
    """Logits (N, K) as the log-odds of each class: themselves, or of one class against all others.

    Example:
        >>> log_odds(torch.tensor([[0.0, 1.0]]), "multiclass")
        tensor([[-1.0000,  1.0000]], dtype=torch.float64)
    """
    values = logits.double()
    if task == "multilabel":
        return values
    share = values.log_softmax(1)
    return share - torch.log(-torch.expm1(share.clamp(max=-1e-15)))


@dataclass(frozen=True)
class Window:
    """What lies in a window is exchanged.

    Attributes:
        mask_of: of rows (N,) of the images boolean (N, H, W), or (1, H, W) where it is the same on all.
        of_recipient: whether the recipient's window is meant, where each image has its own.
        levels: (N,), the level of each image, to which what is put in is brought; None to put it in as it is.
    """

    mask_of: Callable[[Rows], npt.NDArray[np.bool_]]
    of_recipient: bool = False
    levels: npt.NDArray[np.float64] | None = None

    @classmethod
    def fixed(cls, mask: npt.NDArray[np.bool_]) -> Window:
        """The same window (H, W) on every image."""
        return cls(lambda _: mask[None])

    def __call__(self, recipients: Tensor, donors: Tensor, rows: Rows, onto: Rows) -> Tensor:
        """See `Exchange`."""
        masks = torch.from_numpy(self.mask_of(onto if self.of_recipient else rows)).to(recipients.device)
        if self.levels is not None:
            shift = torch.from_numpy(self.levels[onto] - self.levels[rows]).to(donors)
            donors = (donors + shift[:, None, None, None]).clamp(0, 1)
        return torch.where(masks[:, None], donors, recipients)


@dataclass(frozen=True)
class Pairs:
    """Who gives to whom.

    Attributes:
        donors: int64 (D,), rows of the images.
        recipients: int64 (D,), of each donor.
    """

    donors: Rows
    recipients: Rows

    @classmethod
    def of(cls, donors: Rows, pool: Rows, rng: np.random.Generator) -> Pairs:
        """Each donor with one of the recipients in the pool, as many with each; nobody gives to itself."""
        places = rng.permutation(len(donors)) % len(pool)
        places = np.where(pool[places] == donors, (places + 1) % len(pool), places)
        return cls(donors, pool[places])

    def centred(self, effects: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Effects (D, …) less the mean over the donors of the same recipient: what the recipient adds goes."""
        _, group = np.unique(self.recipients, return_inverse=True)
        flat = effects.reshape(len(effects), -1)
        sums = np.zeros((group.max() + 1, flat.shape[1]))
        np.add.at(sums, group, flat)
        means = sums / np.bincount(group)[:, None]
        return (flat - means[group]).reshape(effects.shape)


def exchanged_log_odds(
    model: nn.Module,
    images: Pixels,
    pairs: Pairs,
    exchanges: Sequence[Exchange],
    task: Task,
    *,
    batch_size: int = 64,
) -> npt.NDArray[np.float64]:
    """The log-odds (D, E, K) of each recipient with what each exchange takes from its donor.

    One forward pass for each pair and exchange.

    Args:
        model: images → logits (N, K).
        images: uint8 or uint16 (N, C, H, W).
        pairs: D donors and their recipients.
        exchanges: E of them.
        task: of the model.
        batch_size: images at a time.
    """
    device = device_of(model)
    answers: list[npt.NDArray[np.float64]] = []
    with frozen(model), torch.inference_mode():
        for batch in in_batches(len(pairs.donors), batch_size):
            rows, onto = pairs.donors[batch], pairs.recipients[batch]
            donors, recipients = as_pixels(images[rows], device), as_pixels(images[onto], device)
            own = []
            for exchange in exchanges:
                logits = model(exchange(recipients, donors, rows, onto))
                own.append(log_odds(logits, task).cpu().numpy())
                advance(len(rows))
            answers.append(np.stack(own, 1))
    return np.concatenate(answers)

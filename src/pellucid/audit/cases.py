"""Images of an audit, chosen by a rule: surest and right, surest and wrong, and what the model would have to see."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from pellucid.audit.classification import SUREST, Answers
from pellucid.data.decoding.image import in_8_bits
from pellucid.explainers import explain
from pellucid.explainers.adversarial import adversarial
from pellucid.explainers.registry import layer_option
from pellucid.models.inference import as_pixels
from pellucid.report.pages.audit import Shown, WrongAnswer
from pellucid.report.pictures.panels import Panel, heat_picture, picture
from pellucid.report.pictures.perturbed import as_picture, data_address, difference_picture, percent
from pellucid.report.tables.metrics import method_label, readable
from pellucid.types import device_of

if TYPE_CHECKING:
    import numpy.typing as npt
    import torch

    from pellucid.models.classifier import ConvolutionalClassifier, WrappedClassifier
    from pellucid.types import Pixels

    Model = ConvolutionalClassifier | WrappedClassifier

RHO = 0.05
"""The size of the change in the third picture, root mean square per pixel and channel."""


def three_pictures(
    model: Model, answers: Answers, pixels: Pixels, method: str | None, layer: str | None = None
) -> list[Shown]:
    """The image it is surest about and right, the one it is surest about and wrong, and what it would have to see.

    Args:
        model: what is audited.
        answers: of the images.
        pixels: (N, C, H, W).
        method: the heat map that is shown; None where the model serves none.
        layer: that it explains at, of those that have this option.
    """
    groups, how = [], (method, layer)
    if (right := _surest_right(answers)) is not None:
        row, number = right
        caption = f"{_name(answers, row)}: says {_said(answers, row, number)}, and is right."
        groups.append(
            Shown(
                _title("Surest, and right", answers, number),
                caption,
                _with_map(model, answers, pixels, row, number, *how),
            )
        )
    image, answer, _ = answers.wrong
    if len(image):
        row, number = int(image[0]), int(answer[0])
        caption = f"{_name(answers, row)}: says {_said(answers, row, number)}; {_truth(answers, row, number)}."
        groups.append(
            Shown(
                _title("Surest, and wrong", answers, number),
                caption,
                _with_map(model, answers, pixels, row, number, *how),
            )
        )
        groups.append(_would_see(model, answers, pixels, row, number))
    return groups


def surest_and_wrong(answers: Answers, pixels: Pixels, *, pictures: bool = True) -> list[WrongAnswer]:
    """The wrong decisions that it is surest about, each on another image; with `pictures` off only by name."""
    image, answer, _ = answers.wrong
    _, first = np.unique(image, return_index=True)
    pairs = [(int(image[r]), int(answer[r])) for r in np.sort(first)[:SUREST]]
    return [
        WrongAnswer(
            _name(answers, row),
            _said(answers, row, number),
            _truth(answers, row, number),
            picture(_panel(answers, pixels, row, number)) if pictures else "",
        )
        for row, number in pairs
    ]


def _surest_right(answers: Answers) -> tuple[int, int] | None:
    """The image and the class that is on it, said with the highest probability."""
    probabilities, truth = answers.probabilities, answers.dataset.targets
    there = truth == 1 if truth.ndim == 2 else truth[:, None] == np.arange(probabilities.shape[1])
    right = np.where(there & (answers.decided == 1), probabilities, -1.0)
    best = int(np.argmax(right))
    row, number = divmod(best, probabilities.shape[1])
    return (row, number) if right[row, number] >= 0 else None


def _with_map(
    model: Model, answers: Answers, pixels: Pixels, row: int, number: int, method: str | None, layer: str | None
) -> dict[str, str]:
    panel = _panel(answers, pixels, row, number)
    pictures = {"image": picture(panel)}
    if method is None:
        return pictures
    options = layer_option(method, layer)
    heat = explain(method, model, _batch(model, pixels, row), number, **options).maps[0].float().cpu().numpy()
    panel.maps["", method] = heat
    label = f"{method_label(method)} of {readable(answers.dataset.classes[number])}"
    return pictures | {label: heat_picture(panel, "", method)}


def _would_see(model: Model, answers: Answers, pixels: Pixels, row: int, number: int) -> Shown:
    """The image changed until it says what is right: its true class raised, or the label that is not there lowered."""
    dataset = answers.dataset
    if dataset.task == "multiclass":
        aim, raised = int(dataset.targets[row]), True
    else:
        aim, raised = number, bool(dataset.targets[row, number] == 1)
    batch = _batch(model, pixels, row)
    explanation = adversarial(model, batch, aim, rho=RHO, direction="raise" if raised else "lower")
    before, after = batch[0].cpu().numpy(), explanation.maps[0].float().cpu().numpy()
    name = readable(dataset.classes[aim])
    change = f"{percent(float(explanation.confidence_before[0]))} → {percent(float(explanation.confidence[0]))}"
    caption = (
        f"The same image, changed by a root mean square of {float(explanation.rms[0]):.2g} until it is as "
        f"{'sure' if raised else 'unsure'} of {name} as it can be made ({change}). Where it has learned what people "
        "look for, the change shows it; noise says that it decides by something else."
    )
    pictures = {
        f"what it would have to see for {'' if raised else 'no '}{name}": data_address(as_picture(after)),
        "the change": data_address(difference_picture(after - before, RHO)),
    }
    return Shown("What it would have to see", caption, pictures)


def _batch(model: Model, pixels: Pixels, row: int) -> torch.Tensor:
    return as_pixels(pixels[row : row + 1], device_of(model))


def _panel(answers: Answers, pixels: Pixels, row: int, number: int) -> Panel:
    image = np.asarray(pixels[row])
    flat: npt.NDArray[np.uint8] = in_8_bits(image[0] if len(image) == 1 else image.transpose(1, 2, 0))
    classes = answers.dataset.classes
    return Panel(flat, [], {}, "", classes[number], answers.dataset.ids[row], "")


def _said(answers: Answers, row: int, number: int) -> str:
    """What it says of a class on an image, and how sure it is."""
    probability, name = float(answers.probabilities[row, number]), readable(answers.dataset.classes[number])
    if answers.decided[row, number] == 1:
        return f"{name} ({percent(probability)})"
    return f"no {name} ({percent(1 - probability)})"


def _title(title: str, answers: Answers, number: int) -> str:
    """Of several labels an image may be right on one and wrong on another: the title names which."""
    if answers.dataset.task == "multiclass":
        return title
    return f"{title}: {readable(answers.dataset.classes[number])}"


def _truth(answers: Answers, row: int, number: int) -> str:
    dataset = answers.dataset
    if dataset.task == "multiclass":
        return f"the label is {readable(dataset.classes[int(dataset.targets[row])])}"
    name = readable(dataset.classes[number])
    return f"the label is {name}" if dataset.targets[row, number] == 1 else f"the label is not {name}"


def _name(answers: Answers, row: int) -> str:
    return answers.dataset.ids[row]

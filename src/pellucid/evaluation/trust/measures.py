"""The measures of trust: what each asks, what its figure means, and what it does not."""

from __future__ import annotations

from typing import NamedTuple

LEARNED = "does it depend on what was learned?"
STABLE = "is it stable?"
FAITHFUL = "is it faithful?"
PLACE = "is it where a person would look?"
FOOLED = "can it be fooled by the data?"
LIKE_IMAGE = "does the gradient look like the image?"
AMONG_OTHERS = "does it find its class among others?"
QUESTIONS = (LEARNED, STABLE, FAITHFUL, PLACE, AMONG_OTHERS, FOOLED, LIKE_IMAGE)
NETWORK = "the network itself"
"""The method of a row that no explanation takes part in."""
DEPENDS = 0.5
"""So much likeness must be lost to randomisation, beyond what explaining twice loses: a convention of this table."""
RULES = 3
"""Counted up whenever something is measured otherwise, so that what was kept before is not read as this."""


class Measure(NamedTuple):
    """What a measure asks and says.

    Attributes:
        question: one of `QUESTIONS`.
        label: for people.
        better: 1 where more is better, −1 where less is, 0 where neither can be said.
        means: what the figure says, as a sentence.
        not_means: what it does not say.
        bar: the value that the whole interval must exceed for `yes`, or stay below for `no`; None where no such value
            is known.
        only_refutes: whether maps that know nothing of the image lie above the bar too, so that it may speak against a
            method and never for it.
    """

    question: str
    label: str
    better: int
    means: str
    not_means: str
    bar: float | None = None
    only_refutes: bool = False


_RANDOM = (
    "It can only refute. A map that changes need not be right, nor look at the image: the mean map of other images "
    "changes with the weights too. A convention sets the bar at half."
)
_LOWER = "a stronger attack can only find more."
_ATTACK = "One attack of few steps on few images: " + _LOWER
_ORDER = (
    "It asks about images with holes, which the network never saw; its answer to them may say little of whole ones."
)
_BEST = (
    "Of maps that know nothing: one heat everywhere (random order), a Gaussian at the centre, the edges of the image, "
    "the method's own mean map of the other patients' images, and random maps of the same spatial spectrum."
)
_PLACE = (
    "A map may lie on the finding and the network still decide by something else: localisation alone can mislead "
    "(Viviano et al. 2021), and all eight methods of Arun et al. (2021) failed at least one test."
)
_GRID = "Mosaics are no images the network was trained on; a map can find the right quarter and miss the reason in it."

MEASURES: dict[str, Measure] = {
    "dependence_rank": Measure(
        LEARNED,
        "lost to randomisation, rank correlation",
        1,
        "How much of the map's repeatable ranking is gone once every layer is random: 1 all of it, 0 none.",
        _RANDOM,
        DEPENDS,
        only_refutes=True,
    ),
    "dependence_ssim": Measure(
        LEARNED,
        "lost to randomisation, SSIM",
        1,
        "How much of the map's repeatable structure is gone once every layer is random: 1 all of it, 0 none.",
        _RANDOM,
        DEPENDS,
        only_refutes=True,
    ),
    "repeatability_rank": Measure(
        LEARNED,
        "repeatability, rank correlation",
        1,
        "How alike two maps of the same image and network are, drawn with two seeds: 1 for a method without chance.",
        "A map that repeats itself can be wrong every time.",
    ),
    "randomised_rank": Measure(
        LEARNED,
        "likeness after randomisation, rank correlation",
        -1,
        "How alike the map is to that of a network that learned nothing: near 0 where the weights matter.",
        "Noise is at 0 as well; read it beside the repeatability.",
    ),
    "randomised_ssim": Measure(
        LEARNED,
        "likeness after randomisation, SSIM",
        -1,
        "How alike in structure the map is to that of a network that learned nothing.",
        "Smooth maps are somewhat alike in structure whatever they show; read it beside the other measure.",
    ),
    "max_sensitivity": Measure(
        STABLE,
        "maximum sensitivity",
        -1,
        "The largest change of the map, as a share of its length, under small random changes of the image.",
        "A directed attack finds larger ones; and a map that never changes is perfectly stable and says nothing.",
    ),
    "attacked_rank": Measure(
        STABLE,
        "likeness under a directed attack, rank correlation",
        1,
        "How alike the map stays while an attack changes it and the decision with its confidence stays, as the mean "
        "over budgets up to a root mean square of 0.02: 1 nothing could be changed, 0 or less anything.",
        "It can only refute: a map that never changes stays wholly alike, and says nothing. " + _ATTACK,
        0.5,
        only_refutes=True,
    ),
    "map_invalidated": Measure(
        STABLE,
        "another map at the same decision",
        -1,
        "How often an attack found an image that is decided alike and as surely, but explained otherwise (rank "
        "correlation of at most 0.5), as the mean over the same budgets: 0 never, near 1 at once.",
        "It can only speak against a method: a map that never changes has 0 whatever is done. " + _ATTACK,
    ),
    "decision_invalidated": Measure(
        STABLE,
        "another decision at the same map",
        -1,
        "How often an attack found an image that is decided otherwise, but explained alike (rank correlation of at "
        "least 0.9), as the mean over the same budgets.",
        "It can only speak against a method: it is low for a map that moves by itself, whatever it shows, and for a "
        "network that keeps its decisions; " + _LOWER,
    ),
    "certified_cells": Measure(
        STABLE,
        "cells certain under noise",
        1,
        "The share of the cells of the map, smoothed by noise of 0.02, that no change of the image of an L2 length up "
        "to 0.02 moves into the map's top fifth or out of it, by a certificate.",
        "It is of the smoothed map, not of the one that is drawn; and a useless map has it too: one that is the same "
        "for every image is certain in every cell.",
    ),
    "agreement": Measure(
        STABLE,
        "agreement with another network, rank correlation",
        1,
        "How alike the maps of two networks for the same classes are: 1 the same ranking, 0 unrelated.",
        "Two networks may decide by different things and both be explained rightly; maps may also agree by habit.",
    ),
    "flipping_gain": Measure(
        FAITHFUL,
        "pixel flipping, above the best trivial map",
        1,
        "How much lower the answer's mean probability is when the hottest places go first than by the best trivial "
        "map. " + _BEST,
        _ORDER,
        0.0,
    ),
    "insertion_gain": Measure(
        FAITHFUL,
        "insertion, above the best trivial map",
        1,
        "How much higher the answer's mean probability is when the hottest places come first than by the best trivial "
        "map. " + _BEST,
        _ORDER,
        0.0,
    ),
    "deletion_area": Measure(
        FAITHFUL,
        "deletion area",
        -1,
        "The answer's mean probability while places go, the hottest first.",
        "It also falls with the network's confidence; compare methods on one network only.",
    ),
    "insertion_area": Measure(
        FAITHFUL,
        "insertion area",
        1,
        "The answer's mean probability while places come back into the blurred image, the hottest first.",
        "It also rises with the network's confidence; compare methods on one network only.",
    ),
    "infidelity": Measure(
        FAITHFUL,
        "infidelity",
        -1,
        "The share of the effect of removing squares that the heat inside them does not foretell: 0 none, 1 all.",
        "It supposes that effects add up; a method that only ranks pixels, as saliency, is not made for it.",
    ),
    "place_gain": Measure(
        PLACE,
        "average precision above the best trivial map",
        1,
        "How much better the hottest pixels find the marked regions than the best trivial map: one heat everywhere, a "
        "Gaussian at the centre, the edges of the image, the mean region of the class in the other half of the "
        "patients, and the method's own mean map of the other patients' images.",
        _PLACE,
        0.0,
    ),
    "auprc": Measure(
        PLACE,
        "average precision of pixels",
        1,
        "How well the heat separates pixels inside the marked regions from those outside.",
        _PLACE,
    ),
    "pointing": Measure(PLACE, "pointing game", 1, "How often the hottest pixel lies in the marked region.", _PLACE),
    "energy_ratio": Measure(
        PLACE,
        "heat in the region over its share of the image",
        1,
        "How many times more heat the marked region has than under a map that is the same everywhere.",
        _PLACE,
    ),
    "marker_effect": Measure(
        FOOLED,
        "effect of removing the marker",
        0,
        "How far the finding's logit falls when the planted marker is painted over: what the network hangs on it.",
        "It says nothing about any explanation; it is what they should be held against.",
    ),
    "finding_effect": Measure(
        FOOLED,
        "effect of removing the finding",
        0,
        "How far the finding's logit falls when the finding itself is painted over.",
        "It says nothing about any explanation; it is what they should be held against.",
    ),
    "marker_share": Measure(
        FOOLED,
        "share of the map on the shortcut",
        0,
        "The share of the positive heat on the marker: large, if the map is right, where removing the marker matters.",
        "One shortcut of one kind, planted by us; others may go unseen.",
    ),
    "finding_share": Measure(
        FOOLED,
        "share of the map on the finding",
        0,
        "The share of the positive heat on the finding: large, if the map is right, where removing it matters.",
        "A share on the finding is no comfort where the network decides by the marker.",
    ),
    "alignment": Measure(
        LIKE_IMAGE,
        "alignment α",
        1,
        "The size of the image along its gradient (Etmann et al. 2019); grows with robustness on near-linear networks.",
        "It grows with brightness and resolution too; compare networks on the same images only.",
    ),
    "alignment_cosine": Measure(
        LIKE_IMAGE,
        "alignment without brightness, cosine",
        1,
        "How parallel the gradient is to the image less its mean: 0 unrelated, 1 the same picture.",
        "A gradient that looks like the image shows edges, not reasons.",
    ),
    "grid_gain": Measure(
        AMONG_OTHERS,
        "grid pointing game, above the best trivial map",
        1,
        "How much more of the positive heat is in the right quarter of four images put together than of the best "
        "trivial map's: one heat everywhere, a Gaussian at the centre, the edges of the mosaic, and the method's own "
        "mean map of other mosaics.",
        _GRID,
        0.0,
    ),
    "grid_pointing": Measure(
        AMONG_OTHERS,
        "grid pointing game",
        1,
        "The share of the positive heat in the right quarter of four images put together: 1/4 by chance.",
        _GRID,
    ),
}

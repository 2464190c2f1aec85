"""`pl.certify_explanation` and `pellucid certify-explanation`: which cells of a heat map must stay as they are."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

import torch

from pellucid.evaluation.certified_maps.attack import RULES
from pellucid.evaluation.certified_maps.certificate import MapSmoothing
from pellucid.evaluation.certified_maps.measure import cell_maps, certify_maps
from pellucid.evaluation.certified_maps.summary import cell_records, certified_summary
from pellucid.evaluation.metrics.bootstrap import Bootstrap
from pellucid.evaluation.metrics.statistics import Estimate
from pellucid.explainers import HEATMAPS
from pellucid.explainers.fitting import check_fits
from pellucid.explainers.registry import check_layer, label_of, layer_option
from pellucid.models.inference import as_pixels, check_answers, predict
from pellucid.models.memory_order import channels_last
from pellucid.report.charts.certified_maps import certified_cells_chart
from pellucid.report.charts.drawing import write_charts
from pellucid.report.pages.certified_maps import CertifiedPage, MapCase, write_certified_maps
from pellucid.types import InputError, device_of
from pellucid.utils.csv_table import write_csv
from pellucid.utils.progress import progress_context, reporting_to
from pellucid.utils.resources import check_known, nearest, write_json
from pellucid.utils.result import Footnotes, Result, Table
from pellucid.utils.results_store import ResultsStore
from pellucid.utils.settings import name_list
from pellucid.utils.words import heading_name, number_of
from pellucid.verbs.figures import figure_cell
from pellucid.verbs.folders import work_folder
from pellucid.verbs.session import check_arguments, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.certified_maps.measure import CertifiedMaps
    from pellucid.verbs.session import Model

FILE, CELLS, PAGE = "certify-explanation.json", "certify-explanation.csv", "certify-explanation.html"
LABELS = {
    "certified": "cells certified",
    "certified_in_top": "certified in the top share",
    "certified_outside": "certified outside it",
    "mean_radius": "mean certified radius, L2",
    "attack_found": "attacked cells that changed sides",
    "gap_up_to_2": "attack within 2 × the certificate",
}


@dataclass(frozen=True, eq=False, repr=False)
class ExplanationCertification(Result):
    """Heat maps in cells, with the radius within which each cell of the smoothed map is certain to keep its side.

    Attributes:
        about: what was certified, on what, with which settings.
        maps: of each method, cell by cell.
        summaries: of each method, its figures with their intervals, its curve, and what the attack came to.
        images: float32 (N, C, H, W) in [0, 1].
        names: of the images.
        explained: the class explained on each image.
        notes: what a reader must know of the classes and images.
        pictures: so many images are on the page.
    """

    name: ClassVar[str] = "certify-explanation"
    about: dict[str, Any]
    maps: Sequence[CertifiedMaps]
    summaries: Mapping[str, dict[str, Any]]
    images: npt.NDArray[Any]
    names: Sequence[str]
    explained: Sequence[str]
    notes: Sequence[str]
    pictures: int = 12

    @property
    def rows(self) -> list[dict[str, Any]]:
        """One record per method and figure, with its 95 % interval."""
        return [
            {"method": method, "figure": name, **figure}
            for method, summary in self.summaries.items()
            for name, figure in summary["figures"].items()
        ]

    def to_json(self) -> dict[str, Any]:
        """What `certify-explanation.json` holds."""
        return self.about | {"methods": dict(self.summaries)}

    def tables(self) -> list[Table]:
        """One row per figure, one column per method."""
        title = (
            f"{number_of(len(self.names), 'image(s)')} of {self.about['data']}/{self.about['split']}, noise "
            f"{self.about['sigma']:g}, top {100 * self.about['top']:g} % of the cells\nof the smoothed map, "
            f"{self.about['samples']} samples, all cells of an image together at {100 * self.about['confidence']:g} %"
        )
        notes = Footnotes()
        lines = [
            [label, *(_short(Estimate.from_json(s["figures"][name]), notes) for s in self.summaries.values())]
            for name, label in LABELS.items()
        ]
        return [Table(title, ["cells", *(label_of(method) for method in self.summaries)], lines, notes.lines)]

    @property
    def warnings(self) -> list[str]:
        """Certificates that an attack contradicts, maps that say nothing, and what was said of the images."""
        messages = [s["attack"].get("message") for s in self.summaries.values()]
        for method, summary in self.summaries.items():
            if summary["empty"]:
                messages.append(
                    f"{method}: no cell is hotter than the rest under noise on {summary['empty']} of {len(self.names)} "
                    "images; such maps never change and say nothing, so they are left out."
                )
        return [*self.notes, *(message for message in messages if message)]

    def save(self, folder: str | Path) -> list[Path]:
        """Write certify-explanation.json, .csv (one row per cell) and .html, a page to look at."""
        folder = Path(folder)
        write_json(folder / FILE, self.to_json())
        write_csv(folder / CELLS, cell_records(self.maps, self.names, self.explained))
        write_certified_maps(self._page(), folder / PAGE)
        return [folder / name for name in (FILE, CELLS, PAGE)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """The share of certified cells by their radius."""
        return write_charts([certified_cells_chart(self.summaries)], folder)

    def _page(self) -> CertifiedPage:
        about = self.about
        facts = {
            "Network": str(about["model"]),
            "Images": f"{len(self.names)} of {about['data']}/{about['split']}, seed {about['seed']}",
            "Noise": f"Gaussian, σ = {about['sigma']:g} on pixels in [0, 1], clipped; {about['selection_samples']} "
            f"noisy copies choose each cell’s side, {about['samples']} others certify it",
            "Confidence": f"{100 * about['confidence']:g} % for all cells of an image’s map together",
            "Intervals": "95 %, from 1,000 resamples of the patients",
        }
        cases = [
            MapCase(name, explained, image, i)
            for i, (name, explained, image) in enumerate(zip(self.names, self.explained, self.images, strict=True))
        ]
        title = f"Which parts of the explanations of {heading_name(about['model'])} are certain?"
        return CertifiedPage(
            title, facts, about["sigma"], about["top"], self.maps, self.summaries, LABELS, cases[: self.pictures]
        )


def certify_explanation(
    model: Model,
    data: Dataset,
    methods: str | Sequence[str] = ("cam", "grad-cam", "saliency"),
    sigma: float = 0.02,
    *,
    grid: int = 12,
    top: float = 0.2,
    class_name: str | None = None,
    samples: int = 500,
    selection_samples: int = 100,
    alpha: float = 0.001,
    attack_cells: int = 8,
    pictures: int = 12,
    out: str | Path | None = None,
    limit: int | None = None,
    seed: int = 0,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
    layer: str | None = None,
) -> ExplanationCertification:
    """Certify heat maps cell by cell: within which radius is a cell certain to stay in the map's top share, or out?

    What is certified is the *smoothed* map: a cell is in its top share if it is among the hottest `top` of the cells
    of the map of most noisy copies of the image. Nothing is said of the map of the image without noise. No
    perturbation of a smaller Euclidean length than a cell's radius changes its side, with a probability of 1 − `alpha`
    for all cells of an image's map together. An attack on the same smoothed map bounds the radii from above.

    Args:
        model: what is explained.
        data: one part of a dataset; its classes are matched with the model's by name.
        methods: heat maps by name, one or several.
        sigma: standard deviation of the noise, on pixels in [0, 1]; noisy copies are clipped to [0, 1].
        grid: cells on a side; a map that is smaller keeps its own size.
        top: the share of the cells that counts as the top.
        class_name: the class explained; on each image the most probable one by default.
        samples: noisy copies that certify.
        selection_samples: noisy copies that choose each cell's side.
        alpha: probability that not all certificates of an image's map hold.
        attack_cells: so many of the certified cells of each map are attacked, drawn with `seed`; 0 for no attack.
        pictures: so many images are on the page.
        out: the folder where results are kept, image by image, so that the same call goes on after an interruption.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice, of the noise, of the attack and of the bootstrap.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.
        layer: that the methods with this option explain at, by its name in the model's `named_modules()`.

    Raises:
        InputError: σ ≤ 0; a method that is unknown, or that the model does not serve; a grid finer than the image; too
            few samples for any cell to be certified, with how many are needed; an unknown class; data that does not
            fit; results of something else in `out`.

    Source:
        Cohen, Rosenfeld & Kolter 2019; Anani, Lorenz, Fritz & Schiele 2025 (ICML). The attack is this library's own.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="test", size=32, train=1, validation=1, test=24, prevalence=0.5)
        >>> from pellucid.models import create_model
        >>> model = create_model("small", classes=data.classes[:1], task="multilabel", size=32)
        >>> result = certify_explanation(model, data, "cam", grid=4, samples=30, attack_cells=0, limit=2)
        >>> [row["figure"] for row in result.rows]
        ['certified', 'certified_in_top', 'certified_outside', 'mean_radius', 'attack_found', 'gap_up_to_2']
    """
    check_arguments(model, data)
    names = name_list(methods)
    check_known(names, HEATMAPS, "heat map")
    if class_name is not None and class_name not in model.classes:
        raise InputError(f"unknown class {class_name!r}. {nearest(class_name, model.classes)}")
    smoothing = MapSmoothing(sigma, grid, top, selection_samples, samples, alpha, attack_cells, seed=seed)
    check_layer(model, names, layer)
    check_fits(model, {name: layer_option(name, layer) for name in names})
    cells = cell_maps(model, names, smoothing, layer)
    session = open_session(
        model,
        data,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    dataset, pixels = session.dataset, session.pixels()
    if len(dataset) == 0:
        raise InputError("there are no images to explain.")
    with reporting_to(None):
        logits = predict(model, pixels)
    check_answers(logits, "there is nothing to explain", dataset.ids)
    targets = logits.argmax(1) if class_name is None else [list(model.classes).index(class_name)] * len(dataset)
    about = session.about()
    record = {
        "weights": session.results_key,
        "data": about["data"],
        "split": about["split"],
        "fingerprint": session.whole.fingerprint,
        "layer": layer,
        "rules": RULES,
        **smoothing.to_json(),
    }
    images = as_pixels(pixels, device_of(model))
    with channels_last(model), work_folder(out) as folder:
        store = ResultsStore(folder / "kept", record)
        with progress_context("certify explanations", len(dataset) * len(names)):
            maps = [
                certify_maps(cells[name], images, torch.as_tensor(targets), dataset.ids, smoothing, store)
                for name in names
            ]
    bootstrap = Bootstrap(dataset.patients, seed=seed)
    return ExplanationCertification(
        {
            "format": 1,
            "model": session.name,
            **record,
            "limit": limit,
            "images": len(dataset),
            "patients": len(set(dataset.patients)),
            "class": class_name,
            "training_images": session.seen(),
        },
        maps,
        {one.method: certified_summary(one, alpha, bootstrap) for one in maps},
        images.cpu().numpy(),
        dataset.ids,
        [model.classes[int(target)] for target in targets],
        session.warnings,
        pictures,
    )


def _short(estimate: Estimate, notes: Footnotes) -> str:
    return figure_cell(estimate, 3, notes, estimate.reason)

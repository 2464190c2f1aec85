"""`pl.discover` and `pellucid discover`: what a classifier goes by, found without anybody's label of it."""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from pellucid.audit.groups import make_groupings
from pellucid.evaluation.discovery.comparison import compare_discoveries
from pellucid.evaluation.discovery.exchange import log_odds
from pellucid.evaluation.discovery.results import FORMAT, Discovery
from pellucid.evaluation.discovery.run import answerable, find_suspects, two_classes
from pellucid.evaluation.discovery.samples import Samples
from pellucid.evaluation.discovery.settings import DiscoverySettings
from pellucid.evaluation.discovery.showing import check_same_dataset
from pellucid.models.inference import check_answers, predict
from pellucid.models.memory_order import channels_last
from pellucid.report.pages.discovery import suspect_panels, write_discovery
from pellucid.report.pictures.panels import picture
from pellucid.types import InputError
from pellucid.utils.progress import progress_context
from pellucid.utils.results_store import ResultsStore, keyed
from pellucid.verbs.auditing.about_images import known_columns, with_regions
from pellucid.verbs.folders import work_folder, write_bytes
from pellucid.verbs.session import check_arguments, check_settings, kind_of, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.data.dataset import Dataset
    from pellucid.evaluation.discovery.suspect import Suspect
    from pellucid.types import Pixels
    from pellucid.verbs.session import Model

PAGE = "discover.html"
FEWEST = 40
"""Images from which on anything is looked for."""


@dataclass(frozen=True, eq=False, repr=False)
class DiscoveryWithPage(Discovery):
    """What was found, which is saved with a page to look at."""

    def save(self, folder: str | Path) -> list[Path]:
        """Write discover.html, and what `Discovery.save` writes."""
        return [write_discovery(self, Path(folder) / PAGE), *super().save(folder)]

    def draw(self, folder: Path) -> dict[Path, str]:
        """An image with each suspect that nobody marked, outlined where it is at a place."""
        texts = {}
        for number, panel in enumerate(suspect_panels(self), 1):
            path = write_bytes(folder / f"suspect-{number}.png", b64decode(picture(panel).partition(",")[2]))
            texts[path] = f"{panel.class_name}: {panel.image_id}"
        return texts


def discover(
    model: Model,
    data: Dataset,
    *,
    metadata: str | Path | None = None,
    groups: Mapping[str, Sequence[float]] | None = None,
    regions: Mapping[str, Sequence[str]] | None = None,
    compare: str | Path | Discovery | None = None,
    out: str | Path | None = None,
    settings: DiscoverySettings | None = None,
    limit: int | None = None,
    seed: int | None = None,
    batch_size: int = 64,
    cache: Path | None = None,
    allow_training_images: bool = False,
    class_map: Mapping[str, str] | None = None,
) -> DiscoveryWithPage:
    """Find what a classifier goes by on many images, and of that what nobody marked as the finding.

    Features of the image (level and sharpest detail of windows; brightness, contrast, texture and compression of the
    whole) are held against the labels on all images, and what those stand for that go with a class is swapped between
    images. Other candidates (windows, whatever speaks most for a class outside its marks) are found on one half of the
    patients by putting them from one image into another, and tested on the other half; so are columns of metadata. What
    moves a class is reported, the more so the more the class is there, with a probability of at most `settings.alpha`
    that any is reported where labels say nothing of it. Where there are columns of metadata, what is found in images
    has half of that and what is found in columns the other half.

    Take images as the model was trained on, in which a shortcut goes with its class: where it does not, there is no
    association to find.

    Args:
        model: what is judged.
        data: one part of a dataset; its classes are matched with the model's by name.
        metadata: a CSV or Parquet table with a column that names the images, or their patients; every other column is a
            candidate, and so are those that the data have themselves.
        groups: of these columns those to take, each with where its bands begin, as ``{"age": [40, 60], "sex": []}``.
        regions: the marked labels of a class, where they are not called as the class.
        compare: what `discover` found before on images of the same dataset, or its folder: each of its suspects is
            measured anew in this network, and on the same images the AUROCs of both networks are compared.
        out: the folder where results are kept as they come, so that the same call goes on after an interruption.
        settings: how much is spent, and where the line is drawn.
        limit: at most so many images, chosen with `seed`.
        seed: of that choice, of the halves, of the exchanges and of the permutations; that of `settings` by default.
        batch_size: images at a time.
        cache: keep decoded images in this folder.
        allow_training_images: count images that the model was trained on in; they are refused otherwise.
        class_map: the data's name for each of the model's classes that has another one there.

    Raises:
        InputError: too few images, or no class with enough, with how many are needed; metadata that names none of the
            images; an unknown column or class; a model without answers; suspects of other data to compare with; results
            of something else in `out`.

    Example:
        >>> import pellucid as pl
        >>> data = pl.dataset("phantom", split="validation", size=32, validation=12)
        >>> model = pl.wrap(torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(1024, 8)), data.classes, size=32,
        ...     channels=1, mean=[0.5], std=[0.25], outputs="logits", task="multilabel")
        >>> pl.discover(model, data)
        Traceback (most recent call last):
        ...
        pellucid.types.InputError: 12 images are too few to find what a model goes by: 40 are needed at least, and \
better 300.
    """
    check_arguments(model, data)
    check_settings(settings, DiscoverySettings)
    plan = settings or DiscoverySettings()
    if seed is not None:
        plan = replace(plan, seed=seed)
    before = Discovery.load(compare) if isinstance(compare, str | Path) else compare
    if before is not None and not isinstance(before, Discovery):
        raise InputError(f"compare is what discover returned before, or its folder; found {kind_of(before)}.")
    session = open_session(
        model,
        data,
        limit=limit,
        seed=plan.seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map,
    )
    if before is not None:
        check_same_dataset(before, session.whole)
    unmarked = session.dataset
    session = with_regions(session, regions, class_map)
    dataset = session.dataset
    if len(dataset) < FEWEST:
        raise InputError(
            f"{len(dataset)} images are too few to find what a model goes by: {FEWEST} are needed at least, and better "
            "300."
        )
    columns, notes = known_columns(session, metadata)
    groupings, no_groups = make_groupings(columns, groups)
    pixels = session.pixels()
    record = {"weights": session.results_key, "fingerprint": unmarked.fingerprint, "part": session.whole.split}
    with channels_last(model), work_folder(out) as folder:
        store = ResultsStore(folder / "kept", record | {"data": session.whole.card.name, "format": FORMAT})

        def key(name: str) -> str:
            return keyed(name, plan, batch_size, dataset.fingerprint)

        def classify() -> dict[str, Any]:
            with progress_context("classify", len(pixels)):
                return {"logits": predict(model, pixels, batch_size=batch_size)}

        logits = store.measured(keyed("logits", batch_size), classify)["logits"]
        check_answers(logits, "what moves them cannot be found", dataset.ids)
        odds = log_odds(torch.from_numpy(logits), model.task).numpy()
        of_columns = {grouping.column: (grouping.members, grouping.names) for grouping in groupings}
        samples = two_classes(Samples.of(session.images, pixels, odds, plan.margin, of_columns))
        classes, unanswered = answerable(samples, plan)
        if not classes:
            name, why = next(iter(unanswered.items()))
            raise InputError(f"nothing can be said of any class. {name}: {why}. Give more images, or another part.")
        suspects, counts = find_suspects(model, samples, classes, session.thresholds, plan, store, key, batch_size)
        comparison = None
        if before is not None:
            earlier = before.about["network"], before.about["fingerprint"], before.ids, dict(before.settings)

            def anew(name: str) -> str:
                return keyed(f"{name}-compared", plan, batch_size, dataset.fingerprint, earlier)

            comparison = compare_discoveries(before, model, samples, plan, store, anew, batch_size)
    return DiscoveryWithPage(
        suspects=suspects,
        about=session.about(unmarked)
        | {"title": session.whole.card.title, "origin": session.whole.origin, "network": session.results_key}
        | {"training_images": session.seen()},
        classes=tuple(model.classes),
        ids=dataset.ids,
        settings=plan.to_json(),
        counts=counts
        | {
            "forward_passes": counts["forward_passes"] + len(dataset),
            "positives": dict(zip(samples.classes, (samples.labels == 1).sum(0).tolist(), strict=True)),
            "negatives": dict(zip(samples.classes, (samples.labels == 0).sum(0).tolist(), strict=True)),
        },
        unanswered=unanswered,
        notes=[
            *session.warnings,
            *notes,
            *(f"no groups by {name}: {why}." for name, why in no_groups.items()),
            *_unmarked(samples, classes),
        ],
        pictures=_pictures(suspects, dataset.ids, pixels),
        comparison=comparison,
        odds=odds,
    )


def _unmarked(samples: Samples, classes: Sequence[int]) -> list[str]:
    marked = np.unique(samples.marks.columns)
    names = [samples.classes[k] for k in classes if k not in marked]
    if not names:
        return []
    return [
        f"nobody marked where {', '.join(names)} lies: what is found for it may be the finding itself. Look at the "
        "region."
    ]


def _pictures(suspects: Sequence[Suspect], ids: Sequence[str], pixels: Pixels) -> dict[str, Any]:
    shown_ids = {name for suspect in suspects for name in (*suspect.exemplars, *suspect.without)}
    return {name: np.asarray(pixels[row]) for row, name in enumerate(ids) if name in shown_ids}

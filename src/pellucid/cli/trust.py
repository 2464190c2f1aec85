"""`pellucid trust`: for each explanation of a network, the evidence of how far it can be believed."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Optional

import typer

from pellucid.cli.options import (
    AllowTrainingImages,
    BatchSize,
    Cache,
    DataName,
    DataOption,
    Device,
    Model,
    Out,
    Root,
    Seed,
    Split,
    choices,
    key_values,
    open_splits,
    pick_device,
    show,
    tell_seen,
    wrote,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from pellucid.evaluation.trust.rows import TrustRow
    from pellucid.evaluation.trust.run import Trust
    from pellucid.evaluation.trust.samples import TrustSamples
    from pellucid.models.classifier import ConvolutionalClassifier


def trust(
    model: Model,
    data: DataName,
    out: Out,
    root: Root = None,
    data_option: DataOption = None,
    split: Split = "test",
    method: Annotated[str, typer.Option(help="Separated by commas: {heatmaps}; or all.")] = "cam,grad-cam,saliency",
    beside: Annotated[
        Optional[list[Path]],  # noqa: UP045
        typer.Option(
            help="Another network of the same classes, of another seed or architecture: do the maps agree? "
            "May be repeated.",
            show_default=False,
        ),
    ] = None,
    limit: Annotated[int, typer.Option(min=1, help="Use at most so many images.")] = 100,
    samples: Annotated[int, typer.Option(min=1, help="Moved images per image, for the maximum sensitivity.")] = 8,
    attacked: Annotated[int, typer.Option(min=0, help="Attack the explanations of so many of the images.")] = 16,
    attack_steps: Annotated[int, typer.Option(min=1, help="Gradient steps of an attack, for each budget.")] = 12,
    device: Device = "auto",
    seed: Seed = 0,
    batch_size: BatchSize = 16,
    cache: Cache = None,
    allow_training_images: AllowTrainingImages = False,
) -> None:
    """Judge explanations: does a map depend on what was learned, is it stable, faithful, in the right place?

    Writes trust.json, trust.csv and trust.html. Run the same command again to go on after an interruption, or to add
    methods: each is kept once it is done.

    Example: `pellucid trust runs/first --data phantom --method cam,saliency --limit 50 --out runs/first/trust`
    """
    from pellucid.data.class_match import match_classes
    from pellucid.data.dataset import get_split
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.evaluation.trust.findings import TrustSettings
    from pellucid.evaluation.trust.judge import budget
    from pellucid.evaluation.trust.run import check_methods, judge_all
    from pellucid.evaluation.trust.samples import gather_trust_samples
    from pellucid.explainers import HEATMAPS
    from pellucid.models import load_model
    from pellucid.models.weights import read_model_card, weights_file
    from pellucid.utils.download import digest_of
    from pellucid.utils.results_store import ResultsStore

    methods = list(HEATMAPS) if method == "all" else list(dict.fromkeys(choices(method, HEATMAPS, "heat map")))
    place = pick_device(device)
    classifier = load_model(model, place)
    dataset = get_split(open_splits(data, root, data_option), split)
    dataset, notes = match_classes(dataset, classifier.classes, classifier.task)
    for note in notes:
        typer.echo(f"note: {note}", err=True)
    others = _others(classifier, beside or (), place)
    finding = key_values(data_option).get("shortcut")
    checks = [ImageCheck(path, refuse=not allow_training_images) for path in (model, *(p for p, _ in others.values()))]
    for check in checks:
        check.check_decoding(dataset)
        check.check_ids(dataset.limit(limit, seed=seed))
    subjects = gather_trust_samples(classifier, dataset, finding=finding, limit=limit, seed=seed, cache=cache)
    for check in checks:
        for part, pixels in subjects.parts():
            check.look(part, pixels)
        tell_seen(check.found())
    settings = TrustSettings(
        samples=samples, attacked=attacked, attack_steps=attack_steps, batch_size=batch_size, seed=seed
    )
    check_methods(classifier, subjects, methods)
    record = {
        "weights": digest_of(weights_file(model)),
        "beside": {name: digest_of(weights_file(path)) for name, (path, _) in others.items()},
        "data": data,
        "split": split,
        "fingerprint": dataset.fingerprint,
        "limit": limit,
        "samples": samples,
        "radius": settings.radius,
        "seed": seed,
    }
    store = ResultsStore(out / "kept", record)
    planned = budget(classifier, subjects, settings, len(others))
    typer.echo(
        f"{len(subjects.images)} images; each method draws {planned['explanations_per_method']:,} maps and looks at "
        f"{planned['forward_passes_per_method']:,} changed images more; random order, once, at "
        f"{planned['forward_passes_of_random_orders']:,}."
    )
    networks = {name: other for name, (_, other) in others.items()}
    thresholds = read_model_card(model).get("thresholds")
    found = judge_all(classifier, subjects, methods, settings, store, others=networks, thresholds=thresholds)
    about = {"model": str(model), **record, "attacked": attacked, "attack_steps": attack_steps}
    about["training_images"] = checks[0].found().to_json()
    about["training_images_of_others"] = {n: c.found().to_json() for n, c in zip(others, checks[1:], strict=True)}
    about |= found.to_json()
    _write(out, about, found, subjects, classifier)
    _tell(found.rows, methods, f"{len(subjects.images)} images of {data}/{split}; the bar in brackets")


def _others(
    classifier: ConvolutionalClassifier, paths: Sequence[Path], device: str
) -> dict[str, tuple[Path, ConvolutionalClassifier]]:
    from pellucid.cli.output_names import output_folders
    from pellucid.models import load_model
    from pellucid.types import InputError

    found = {}
    for name, path in zip(output_folders(paths, Path()), paths, strict=True) if paths else ():
        other = load_model(path, device)
        if other.classes != classifier.classes or other.input_spec != classifier.input_spec:
            raise InputError(f"{path} has other classes, channels or image size than the network: it cannot agree.")
        same = other.architecture == classifier.architecture
        found[f"{name} ({'same' if same else 'other'} architecture)"] = (path, other)
    return found


def _write(
    out: Path, about: Mapping[str, Any], found: Trust, subjects: TrustSamples, classifier: ConvolutionalClassifier
) -> None:
    from pellucid.report.pages.trust import TrustPage, write_trust
    from pellucid.utils.csv_table import write_csv
    from pellucid.utils.resources import write_json

    write_json(out / "trust.json", dict(about))
    write_csv(out / "trust.csv", [{k: "" if v is None else v for k, v in row.items()} for row in about["rows"]])
    methods = found.methods.values()
    shown = min(len(subjects.images), max((f.curves["maps_by_depth"].shape[1] for f in methods), default=0))
    explained = [classifier.classes[t] for t in subjects.targets.tolist()]
    told = {
        "Network": str(about["model"]),
        "Images": f"{about['images']} of {about['data']}/{about['split']}, seed {about['seed']}",
        "Class explained": "the network’s decision; of several labels, the surest of those the image shows",
        "Gradient evaluations": ", ".join(
            f"{f.method} {int(f.cost['gradient_evaluations'] + f.cost.get('attack_gradient_evaluations', 0)):,}"
            for f in methods
        ),
        "Intervals": "95 %, from 1,000 resamples of the patients",
    }
    page = TrustPage(
        f"Can the explanations of {Path(str(about['model'])).stem} be trusted?",
        told,
        found,
        subjects.images[:shown].cpu().numpy(),
        [f"{i}: {c}" for i, c in zip(subjects.ids, explained, strict=True)],
    )
    write_trust(page, out / "trust.html")
    for name in ("trust.json", "trust.csv", "trust.html"):
        wrote(out / name)


def _tell(rows: Sequence[TrustRow], methods: Sequence[str], title: str) -> None:
    judged = [r for r in rows if r.bar is not None]
    table = []
    for label in dict.fromkeys(r.label for r in judged):
        own = {r.method: r for r in judged if r.label == label}
        bar = next(iter(own.values())).bar
        table.append([f"{label} ({bar:g})", *(_shown(own.get(m)) for m in methods)])
    show(title, ["measure", *methods], table)


def _shown(row: TrustRow | None) -> str:
    if row is None:
        return "–"
    if row.value != row.value:
        return "undefined"
    interval = f" [{row.low:.2f}, {row.high:.2f}]" if row.low == row.low else ""
    return f"{row.value:.2f}{interval} {row.verdict or ''}".rstrip()

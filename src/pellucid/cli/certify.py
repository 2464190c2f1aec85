"""`pellucid certify`: how large a change a network withstands, itself or under noise, from below and from above."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, class_map, load, open_part


@alone_in_out
def certify(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    method: Annotated[
        Literal["smoothing", "bounds"],
        typer.Option(help="smoothing: the network under noise; bounds: a small network of (half-Huber) ReLUs itself."),
    ] = "smoothing",
    sigma: Annotated[
        float | None,
        typer.Option(
            help="Standard deviation of the noise, on pixels in [0, 1]; what the network was trained with, if known. "
            "Of smoothing, like samples and alpha."
        ),
    ] = None,
    samples: Annotated[int, typer.Option(help="Noisy copies of an image that a certificate rests on.")] = 1000,
    selection_samples: Annotated[int, typer.Option(help="Noisy copies that choose the answer.")] = 100,
    alpha: Annotated[float, typer.Option(help="Probability that a certificate is wrong.")] = 0.001,
    attack_samples: Annotated[int, typer.Option(help="Noisy copies that the attack follows.")] = 16,
    attack: Annotated[bool, typer.Option(help="Also attack the classifier that is certified.")] = True,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Certified robustness, by randomised smoothing or by bounds, and the same classifier attacked.

    Writes certify.json, certify.csv (one row per image) and curve.png. Run the same command again to go on after an
    interruption.

    Example: `pellucid certify runs/first --data phantom --sigma 0.25 --limit 50 --out runs/first/certify`
    """
    from pellucid.verbs.certify import certify as run

    result = run(
        load(model, device, trust_code),
        open_part(data, root, data_option, split),
        sigma,
        method=method,
        samples=samples,
        selection_samples=selection_samples,
        alpha=alpha,
        attack_samples=attack_samples if attack else None,
        out=out,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
    )
    show_result(result, out)

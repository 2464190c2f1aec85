"""`pellucid certify-explanation`: which cells of a network's heat maps must stay as they are, and how far."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, class_map, load, open_part


@alone_in_out
def certify_explanation(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    method: options.Heatmaps = "cam,grad-cam,saliency",
    layer: options.Layer = None,
    sigma: Annotated[float, typer.Option(help="Standard deviation of the noise, on pixels in [0, 1].")] = 0.02,
    grid: Annotated[int, typer.Option(help="Cells on a side; a smaller map keeps its own size.")] = 12,
    top: Annotated[float, typer.Option(help="The share of the cells that counts as the top.")] = 0.2,
    class_name: options.ExplainedClass = None,
    samples: Annotated[int, typer.Option(help="Noisy copies that certify.")] = 500,
    selection_samples: Annotated[int, typer.Option(help="Noisy copies that choose each cell's side.")] = 100,
    alpha: Annotated[float, typer.Option(help="Probability that not all certificates of an image's map hold.")] = 0.001,
    attack_cells: Annotated[int, typer.Option(help="Attack so many of the certified cells of each map.")] = 8,
    pictures: Annotated[int, typer.Option(min=0, help="Show at most so many images on the page.")] = 12,
    limit: options.Limit = None,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    seed: options.Seed = 0,
    cache: options.Cache = None,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Certify heat maps cell by cell: within which radius must a cell of the smoothed map keep its side?

    Its side is the top share of the map, or the rest.

    Writes certify-explanation.json, .csv (one row per cell) and .html, a page on which uncertain cells are grey. Run
    the same command again to go on after an interruption.

    Example: `pellucid certify-explanation runs/first --data phantom --limit 20 --out runs/first/certified-maps`
    """
    from pellucid.explainers import HEATMAPS
    from pellucid.verbs.certify_explanation import certify_explanation as run

    result = run(
        load(model, device, trust_code),
        open_part(data, root, data_option, split),
        list(HEATMAPS) if method == "all" else choices(method, HEATMAPS, "heat map"),
        sigma,
        grid=grid,
        top=top,
        class_name=class_name,
        samples=samples,
        selection_samples=selection_samples,
        alpha=alpha,
        attack_cells=attack_cells,
        pictures=pictures,
        out=out,
        limit=limit,
        seed=seed,
        cache=cache,
        allow_training_images=allow_training_images,
        class_map=class_map(mapping),
        layer=layer,
    )
    show_result(result, out)

"""`pellucid audit`: everything that is measured of one given model, in one report."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import show_result
from pellucid.cli.session import alone_in_out, choices, class_map, load, name_pairs, open_part, single_values


@alone_in_out
def audit(
    model: options.Model,
    data: options.DataName,
    out: options.Out,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: options.Split = "test",
    mapping: options.ClassMap = None,
    quick: Annotated[
        bool, typer.Option("--quick", help="100 images, 30 of them corrupted and 20 attacked and explained.")
    ] = False,
    prevalence: Annotated[
        list[str] | None,
        typer.Option(
            metavar="CLASS=SHARE",
            help="How often a class occurs where the model is to be used; may be repeated. Of exclusive classes the "
            "others share the rest.",
        ),
    ] = None,
    cost: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KIND=COST",
            help="What an error costs: FN (a class missed) or FP (said wrongly), FN=10. Of two exclusive classes: of "
            "the one with --prevalence, or else of the second.",
        ),
    ] = None,
    metadata: Annotated[
        Path | None,
        typer.Option(
            help="A CSV or Parquet table with a column that names the images, or their patients: every other column "
            "makes groups, whose figures are compared."
        ),
    ] = None,
    group: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN[=EDGES]",
            help="Compare the groups of this column, of numbers with where their bands begin, as age=40,60; may be "
            "repeated. All columns that are known by default.",
        ),
    ] = None,
    corrupted: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Classify so many images under common corruptions, 300 by default and 30 with --quick; 0 leaves that "
            "out.",
        ),
    ] = None,
    searched: Annotated[
        int | None,
        typer.Option(
            min=0,
            help="Look on so many images for what the model goes by, 400 by default and 0, which leaves that out, with "
            "--quick.",
        ),
    ] = None,
    effort: options.Effort = 1,
    compare: Annotated[
        Path | None, typer.Option(help="Another model of the same classes, compared on the same images.")
    ] = None,
    method: Annotated[str, typer.Option(help="Separated by commas: {heatmaps}.")] = "grad-cam,saliency",
    layer: options.Layer = None,
    region: options.RegionNames = None,
    pictures: Annotated[
        bool, typer.Option("--pictures/--no-pictures", help="Show images on the page, or only name them.")
    ] = True,
    limit: options.Limit = None,
    device: options.Device = "auto",
    seed: options.Seed = 0,
    batch_size: options.BatchSize = 32,
    cache: options.Cache = None,
    trust_code: options.TrustCode = False,
    allow_training_images: options.AllowTrainingImages = False,
) -> None:
    """Audit a model: does it classify, is it calibrated, does it withstand attacks, can its explanations be believed?

    Writes report.html, audit.json, card.md and tables. Run the same command again to go on after an interruption.

    Example: `pellucid audit runs/first --data phantom --quick --out runs/first/audit`
    """  # fmt: skip
    from pellucid.audit.groups import parse_groups
    from pellucid.evaluation.metrics.operating_points import Use
    from pellucid.explainers import HEATMAPS
    from pellucid.verbs.audit import audit as run

    use = Use.parse(single_values(prevalence, "--prevalence"), single_values(cost, "--cost"))
    other = None if compare is None else load(compare, device, trust_code)
    show_result(
        run(
            load(model, device, trust_code), open_part(data, root, data_option, split),
            quick=quick, compare=other, out=out, use=use, metadata=metadata,
            groups=parse_groups(group) if group else None, methods=choices(method, HEATMAPS, "heat map"), layer=layer,
            corrupted=corrupted, searched=searched, effort=effort, regions=name_pairs(region, "--region"),
            pictures=pictures, limit=limit, seed=seed, batch_size=batch_size, cache=cache,
            allow_training_images=allow_training_images, class_map=class_map(mapping),
            command=" ".join(["pellucid", *sys.argv[1:]]), announce=lambda text: typer.echo(text, err=True),
        ),
        out,
    )  # fmt: skip

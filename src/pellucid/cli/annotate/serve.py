"""`pellucid annotate serve`: the page where people mark."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, cast

import typer

from pellucid.cli import options
from pellucid.cli.output import tell_seen
from pellucid.cli.session import load, numbers, open_part

if TYPE_CHECKING:
    from pellucid.annotator.acquisition import Order


def serve(
    model: options.Model,
    data: options.DataName,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: Annotated[str, typer.Option(help="Which part of the data is annotated.")] = "train",
    store: options.Store = "annotations.db",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Where the page is; 0 for any that is free.")] = 8000,
    host: Annotated[str, typer.Option(help="The address to listen on; any but this machine's own needs a token.")] = (
        "127.0.0.1"
    ),
    token_file: Annotated[
        Path | None,
        typer.Option(
            help="A file with the token that annotators must know who were not invited, at least 16 characters; or set "
            "PELLUCID_ANNOTATE_TOKEN. Made where needed."
        ),
    ] = None,
    token: Annotated[
        str | None, typer.Option(hidden=True, help="Refused: everybody on this machine could read it.")
    ] = None,
    suspect: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR/NUMBER",
            help="Mark one suspect of `pellucid discover` once, for all images that show it, as suspects/3.",
        ),
    ] = None,
    per_image: Annotated[int, typer.Option(min=1, help="How many people annotate each image.")] = 1,
    order: Annotated[
        str, typer.Option(help="Which images come first: uncertainty, disagreement, outside, random or mixed.")
    ] = "mixed",
    compare: Annotated[Path | None, typer.Option(help="A second model; --order disagreement compares the two.")] = None,
    rhos: Annotated[str, typer.Option(help="Sizes of the adversarial explanations.")] = "0.025,0.05,0.1,0.2",
    limit: Annotated[int, typer.Option(min=1, help="At most so many images, drawn with --seed.")] = 1000,
    hold: Annotated[float, typer.Option(min=0.1, help="Minutes that an image stays reserved.")] = 10.0,
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = True,
    seed: options.Seed = 0,
    device: options.Device = "auto",
    trust_code: options.TrustCode = False,
    cache: options.Cache = None,
) -> None:
    """Serve the annotation page: one image at a time, the network's explanations beside it, regions to mark.

    Orders: uncertainty (the network is unsure), disagreement (two networks differ), outside (the explanation lies
    where nobody found anything relevant before), random, mixed (these in turn). Stop it with Ctrl-C; nothing is lost.

    Without --host it answers this machine alone and asks for no token; with it, everybody needs an invitation
    (`pellucid annotate invite`) or the token.

    Example: `pellucid annotate serve runs/first --data phantom --store annotations.db`

    What the network should not go by, once for all images: `pellucid annotate serve runs/first --data phantom --suspect
    suspects/1`
    """
    from pellucid.annotator.serving import read_token, serve, server_access
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.utils.resources import optional

    token_text = read_token(token_file, token)
    for module in ("sqlalchemy", "alembic", "fastapi", "uvicorn"):
        optional(module, "annotate", "pellucid annotate")
    from pellucid.annotations.schema import store_name
    from pellucid.annotator.setup import ServiceOptions, open_service
    from pellucid.annotator.suspect import OpenSuspect
    from pellucid.verbs.session import results_key_of

    settings = ServiceOptions(
        order=cast("Order", order),  # another one is refused with those that there are
        per_image=per_image,
        limit=limit,
        seed=seed,
        hold_minutes=hold,
        rhos=tuple(sorted(set(numbers(rhos, "--rhos")))),
        cache=cache,
    )
    access = server_access(host, port, token_text)
    dataset = open_part(data, root, data_option, split)
    network = load(model, device, trust_code)
    second = None if compare is None else load(compare, device, trust_code)
    check = ImageCheck(network.path, refuse=False)
    one = None if suspect is None else OpenSuspect.open(suspect, network, results_key_of(network), dataset, cache)
    service = open_service(
        dataset, network, store, name=str(model), compare=second, options=settings, check=check, suspect=one
    )
    tell_seen(check.found(), judging=False)
    typer.echo(f"{len(service.dataset)} images of {data}/{split}; annotations go to {store_name(store)}")
    serve(service, access, say=typer.echo, open_page=open_page, suspect=one)

"""`pellucid annotate`: people mark what a network should look at and what not; their marks as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pellucid.cli import options
from pellucid.cli.output import tell_seen, wrote
from pellucid.cli.session import open_splits
from pellucid.utils.devices import pick_device

if TYPE_CHECKING:
    from pellucid.annotations.records import Kind
    from pellucid.annotator.acquisition import Order

app = typer.Typer(
    no_args_is_help=True,
    help="People mark what a network should look at and what not. The page is made by `serve`; what they drew goes "
    "into a database, from there to training (`pellucid train annotated --annotations annotations.db`) or to a file.",
)
Store = Annotated[str, typer.Option("--store", help="The annotation database: a file, or a PostgreSQL URL.")]


@app.command("serve")
def serve(
    model: options.Model,
    data: options.DataName,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: Annotated[str, typer.Option(help="Which part of the data is annotated.")] = "train",
    store: Store = "annotations.db",
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
    compare_with: Annotated[
        Path | None, typer.Option(help="A second network; --order disagreement compares the two.")
    ] = None,
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
    from pellucid.annotator.serving import TOKEN_VARIABLE, read_token, serve, server_access
    from pellucid.data.dataset import get_split
    from pellucid.evaluation.training_images import ImageCheck
    from pellucid.models.weights import load_model
    from pellucid.types import InputError
    from pellucid.utils.resources import optional

    if token is not None:
        raise InputError(
            "a token on the command line can be read by every account of this machine, in the list of processes: put "
            f"it into a file that is yours alone (--token-file FILE), or into the variable {TOKEN_VARIABLE}."
        )
    for module in ("sqlalchemy", "alembic", "fastapi", "uvicorn"):
        optional(module, "annotate", "pellucid annotate")
    from pellucid.annotations.schema import store_name
    from pellucid.annotator.setup import ServiceOptions, open_service
    from pellucid.annotator.suspect import OpenSuspect, SuspectPage
    from pellucid.verbs.session import weights_sha256_of

    options = ServiceOptions(
        order=_order(order),
        per_image=per_image,
        limit=limit,
        seed=seed,
        hold_minutes=hold,
        rhos=_numbers(rhos),
        cache=cache,
    )
    access = server_access(host, port, read_token(token_file))
    place = pick_device(device)
    dataset = get_split(open_splits(data, root, data_option), split)
    network = load_model(model, place, trust_code=trust_code)
    second = None if compare_with is None else load_model(compare_with, place, trust_code=trust_code)
    check = ImageCheck(network.path, refuse=False)
    if second is not None:
        ImageCheck(second.path, refuse=False).check_decoding(dataset)
    one = None if suspect is None else OpenSuspect.open(suspect, network, weights_sha256_of(network), dataset, cache)
    service = open_service(
        dataset,
        network,
        store,
        name=str(model),
        compare_with=second,
        options=options,
        check=check,
        only=None if one is None else one.names,
    )
    tell_seen(check.found(), judging=False)
    page = None
    if one is not None:
        page = SuspectPage(one, service.store)
        typer.echo(f"{one.sentence}; its mark goes to {one.folder / str(one.suspect.number)} as well")
    typer.echo(f"{len(service.dataset)} images of {data}/{split}; annotations go to {store_name(store)}")
    serve(service, access, say=typer.echo, open_page=open_page, suspect=page)


@app.command("invite")
def invite(
    names: Annotated[list[str], typer.Argument(help="Who annotates, new or known.")],
    store: Store = "annotations.db",
    address: Annotated[
        str, typer.Option(help="Where annotators reach the server, as `serve` says or as your proxy is called.")
    ] = "http://127.0.0.1:8000",
    sign_out: Annotated[
        bool, typer.Option("--sign-out", help="End the sessions that these people have now, as after a lost laptop.")
    ] = False,
) -> None:
    """Make one link for each person, with which they, and nobody else, sign in under their name.

    A link works in one browser, the first that follows it, and waits for it 30 days. A further link for the same name
    lets in a further browser. The server may run meanwhile.

    Example: `pellucid annotate invite "Dr Ayşe Kaya" "Dr Ben Ito" --store annotations.db --address
    https://annotate.hospital.example`
    """
    from pellucid.utils.resources import optional

    optional("sqlalchemy", "annotate", "an annotation database")
    from pellucid.annotator.invitations import make_links

    for name, link in make_links(store, names, address, sign_out=sign_out):
        typer.echo(f"{name}\t{link}")


@app.command("export")
def export(
    store: Annotated[str, typer.Argument(help="The annotation database.")],
    kind: Annotated[str, typer.Option("--format", help="coco (JSON) or csv.")] = "coco",
    out: Annotated[
        Path | None, typer.Option("--out", help="The file to write; the database's name beside it by default.")
    ] = None,
) -> None:
    """Write all annotations to one file, which other tools, and `pellucid annotate import`, can read.

    COCO: boxes and polygons in pixels, brush strokes as run lengths. Either format, imported again, gives the same
    database.

    Example: `pellucid annotate export annotations.db --format coco --out annotations.json`
    """
    from pellucid.annotations.files import FORMATS, export_annotations
    from pellucid.types import InputError
    from pellucid.utils.resources import nearest, optional

    optional("sqlalchemy", "annotate", "an annotation database")
    if kind not in FORMATS:
        raise InputError(f"unknown format {kind!r}. {nearest(kind, FORMATS)}")
    if out is None:
        if "://" in store:
            raise InputError("name the file to write with --out.")
        out = Path(store).with_suffix(FORMATS[kind])
    counts = export_annotations(store, out, kind)
    typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    wrote(out)


@app.command("import")
def import_file(
    file: Annotated[
        Path | None,
        typer.Argument(
            help="A COCO JSON file, or a CSV file of export; left out, the boxes or masks that --data has itself."
        ),
    ] = None,
    store: Store = "annotations.db",
    data: Annotated[
        str | None, typer.Option("--data", help="The dataset that is annotated; our own files say it.")
    ] = None,
    root: options.Root = None,
    data_option: options.DataOption = None,
    split: Annotated[str, typer.Option(help="Of --data: which part of it.")] = "train",
    annotator: Annotated[str, typer.Option(help="Of all but our own files: who drew it.")] = "import",
    mark_as: Annotated[str, typer.Option("--as", help="Of all but our own files: relevant or irrelevant.")] = (
        "relevant"
    ),
) -> None:
    """Read annotations from a file, or a dataset's own boxes, into a database, which is made where it is new.

    A file of `export` says itself which dataset it belongs to. Somebody else's COCO JSON, of boxes, polygons or
    masks, is matched with the images of --data by the whole of their path. Nothing is kept of a file with anything
    wrong in it. Without a file, the boxes that --data comes with become marks; of a mask, the box around it.

    Example: `pellucid annotate import boxes.json --data chestxray14 --root ~/ChestX-ray14 --store annotations.db`

    Radiologists' boxes to train with: `pellucid annotate import --data chestxray14 --root ~/ChestX-ray14 --data-option
    boxed_for_training=0.5 --annotator radiologists`
    """
    from pellucid.annotations.files import import_annotations
    from pellucid.data.dataset import get_split
    from pellucid.utils.resources import optional

    optional("sqlalchemy", "annotate", "an annotation database")
    from pellucid.annotations.schema import store_name

    dataset = None if data is None else get_split(open_splits(data, root, data_option), split)
    counts = import_annotations(file, store, dataset, annotator=annotator, kind=_kind(mark_as))
    typer.echo(", ".join(f"{count} {what}" for what, count in counts.items()))
    wrote(store_name(store))


def _order(name: str) -> Order:
    from pellucid.annotator.acquisition import ORDERS
    from pellucid.types import InputError
    from pellucid.utils.resources import nearest

    for order in ORDERS:
        if name == order:
            return order
    raise InputError(f"unknown order {name!r}. {nearest(name, ORDERS)}")


def _kind(name: str) -> Kind:
    from pellucid.annotations.records import KINDS
    from pellucid.types import InputError

    for kind in KINDS:
        if name == kind:
            return kind
    raise InputError(f"--as is relevant or irrelevant; found {name!r}.")


def _numbers(text: str) -> tuple[float, ...]:
    from pellucid.explainers.adversarial import check_settings
    from pellucid.types import InputError

    try:
        numbers = tuple(sorted({float(part) for part in text.split(",")}))
    except ValueError as error:
        raise InputError(f"--rhos are numbers with commas between them, as 0.05,0.1; found {text!r}.") from error
    for number in numbers:
        check_settings(number, "raise", "tight")
    return numbers

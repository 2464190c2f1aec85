"""`pellucid annotate invite`: the links with which people sign in."""

from __future__ import annotations

from typing import Annotated

import typer

from pellucid.cli.options import Store


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

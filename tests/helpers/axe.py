"""What axe-core finds wrong with a page, in the light and in the dark."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe

COLOURS = ["color-contrast", "link-in-text-block"]  # the rules whose answer depends on the scheme
ALIKE = r"""() => {
  const kinds = new Map(), given = / (id|href|headers|title|alt|aria-label|data-[\w-]+)="[^"]+"/g;
  for (const row of document.querySelectorAll('tr')) {
    const kind = row.outerHTML.replace(/>[^<]*[^<\s][^<]*</g, '>text<').replace(given, ' $1="given"');
    const rows = kinds.get(row.parentElement) ?? new Map();
    kinds.set(row.parentElement, rows.set(kind, (rows.get(kind) ?? 0) + 1));
    if (rows.get(kind) > 2) row.remove();
  }
}"""


def violations(page, *schemes, colours_only=False):
    """Each rule that a page breaks, with the first elements that do; `schemes` are those it is looked at in.

    In every scheme but the first, and in the first if `colours_only`, only the rules of colours are looked at.

    Of the rows of a table that differ in their texts alone, two are left on the page, an odd and an even one: axe looks
    at every cell, of tables that have thousands.
    """
    page.evaluate(ALIKE)
    complaints = []
    for number, scheme in enumerate(schemes or ("light", "dark")):
        page.emulate_media(color_scheme=scheme)
        rules = {"runOnly": COLOURS} if number or colours_only else {}  # all of them once
        broken = Axe().run(page, options={"resultTypes": ["violations"], **rules}).response["violations"]
        complaints += [
            (scheme, one["id"], [node["html"][:120] + node["failureSummary"] for node in one["nodes"][:3]])
            for one in broken
        ]
    return complaints

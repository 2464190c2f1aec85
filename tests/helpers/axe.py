"""What axe-core finds wrong with a page, in the light and in the dark."""

from __future__ import annotations

from axe_playwright_python.sync_playwright import Axe


def violations(page, *schemes):
    """Each rule that a page breaks, with the first elements that do; `schemes` are those it is looked at in."""
    complaints = []
    for scheme in schemes or ("light", "dark"):
        page.emulate_media(color_scheme=scheme)
        broken = Axe().run(page).response["violations"]
        complaints += [
            (scheme, one["id"], [node["html"][:120] + node["failureSummary"] for node in one["nodes"][:3]])
            for one in broken
        ]
    return complaints

"""What axe-core finds wrong with every page of the built documentation site, in the light, in the dark and on a phone.

    python docs/check_accessibility.py [SITE] [--out FILE]

`make accessibility` builds the site and runs it; it ends with 1 where a rule is broken. FILE gets a line of JSON a page
and view, as soon as it was looked at: a second run goes on where the first one ended. Remove FILE to begin again.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from playwright.sync_api import sync_playwright

TOP = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(TOP / "tests"))

from conftest import SWITCHES  # noqa: E402
from helpers.axe import violations  # noqa: E402

VIEWS = {  # width, height, scheme, and whether only colours are looked at
    "light": (1280, 900, "light", False),
    "dark": (1280, 900, "dark", True),
    "phone": (390, 844, "light", False),
}


class Quiet(SimpleHTTPRequestHandler):
    """The built files, without a line a request."""

    def log_message(self, *_: object) -> None:
        """Nothing."""


def main() -> int:
    """Look at the pages that were not looked at yet, and print what is wrong with all."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("site", nargs="?", type=Path, default=TOP / "build" / "site", help="the built site")
    parser.add_argument("--out", type=Path, default=TOP / "build" / "accessibility.jsonl", help="what was found so far")
    options = parser.parse_args()
    pages = sorted(page.relative_to(options.site).as_posix() for page in options.site.rglob("*.html"))
    if not pages:
        parser.error(f"no page in {options.site}: `make docs` builds the site")
    lines = options.out.read_text(encoding="utf-8").splitlines() if options.out.is_file() else []
    results = [json.loads(line) for line in lines]
    done = {(one["page"], one["view"]) for one in results}
    program = shutil.which("chromium") or shutil.which("google-chrome") or shutil.which("chromium-browser")
    # not from files: the links of 404.html begin at the top of the site
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Quiet, directory=str(options.site)))
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with sync_playwright() as playwright, options.out.open("a", encoding="utf-8") as file:
        chromium = playwright.chromium.launch(executable_path=program, args=list(SWITCHES))
        for view, (width, height, scheme, colours_only) in VIEWS.items():
            tab = chromium.new_page(viewport={"width": width, "height": height}, color_scheme=scheme)
            for page in pages:
                if (page, view) in done:
                    continue
                tab.goto(f"http://127.0.0.1:{server.server_port}/{page}")
                complaints = violations(tab, scheme, colours_only=colours_only)
                broken = [{"rule": rule, "where": where} for _, rule, where in complaints]
                results.append({"page": page, "view": view, "broken": broken})
                file.write(json.dumps(results[-1]) + "\n")
                file.flush()
            tab.close()
        chromium.close()
    server.shutdown()
    for one in results:
        for rule in one["broken"]:
            print(f"{one['page']} ({one['view']}): {rule['rule']}", *rule["where"], sep="\n    ")
    bad = len({one["page"] for one in results if one["broken"]})
    print(f"{bad} of {len(pages)} pages break a rule of axe-core")
    return int(bad > 0)


if __name__ == "__main__":
    raise SystemExit(main())

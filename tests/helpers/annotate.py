"""A real annotation server in a process of its own, for the tests of the page and of programs that talk to it."""

from __future__ import annotations

import http.cookiejar
import json
import re
import subprocess
import sys
import urllib.request

from helpers.forked import Forked

SIZE = 48
DATA = {"size": SIZE, "train": 24, "validation": 1, "test": 1, "prevalence": 0.4}


def make_network(folder, dataset=None):
    """An untrained network for a dataset, by default the phantom, saved in a run folder."""
    from helpers.models import small
    from pellucid.data import open_dataset
    from pellucid.models import save_model

    dataset = dataset or open_dataset("phantom", options=DATA)["train"]
    return save_model(small(task=dataset.task, classes=dataset.classes), folder)


def make_table(folder, classes):
    """A table of as many images, each of another class."""
    import numpy as np
    from PIL import Image

    rows = ["path,class,split"]
    for number in range(classes + 1):
        gray = np.random.default_rng(number).integers(0, 256, (SIZE, SIZE), dtype=np.uint8)
        Image.fromarray(gray).save(folder / f"{number}.png")
        rows.append(f"{number}.png,class {number % classes:02d},{'train' if number < classes else 'validation'}")
    table = folder / "labels.csv"
    table.write_text("\n".join(rows) + "\n")
    return table


def token_file(folder, token):
    """A file of the server's token."""
    file = folder / "token"
    file.write_text(token + "\n")
    file.chmod(0o600)
    return file


class Server:
    """`pellucid annotate serve`; killed and started again, it listens on the same port.

    It serves the phantom, or a table of one's own.
    """

    def __init__(self, folder, *options, table=None):
        self.folder, self.options, self.port, self.process = folder, options, 0, None
        self.data = ["phantom", *(part for key, value in DATA.items() for part in ("--data-option", f"{key}={value}"))]
        dataset = None
        if table is not None:
            from pellucid.data import open_dataset

            self.data, dataset = ["table", "--root", table], open_dataset("table", root=table)["train"]
        self.network = make_network(folder / "run", dataset)

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self, *, forked=True):
        """`forked=False` for a process with a command line of its own."""
        command = ["annotate", "serve", self.network, "--data", *self.data, "--no-open", "--port", self.port]
        store = ["--store", self.folder / "annotations.db"]
        store += ["--rhos", "0.05,0.2"]  # of what is made ahead, most of it for nobody, these take the time
        log = self.folder / "server.log"
        if forked:
            self.process = Forked(*command, *store, *self.options, log=log)
        else:
            words = [sys.executable, "-m", "pellucid.cli.app", *map(str, [*command, *store, *self.options])]
            with log.open("w") as errors:
                self.process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=errors, text=True)
        told = ""
        for line in self.process.stdout:
            told += line
            found = re.search(r"the page is at (http://127\.0\.0\.1:(\d+)/\S*)", line)
            if found:
                self.told, self.port = found.group(1), int(found.group(2))
                return self
        raise AssertionError(told + (self.folder / "server.log").read_text())

    def kill(self):
        self.process.kill()
        self.process.wait()
        self.process.stdout.close()

    def visitor(self, name):
        """Somebody who is invited under a name, as from a further browser."""
        from pellucid.annotations.people import invite
        from pellucid.annotations.store import open_store

        with open_store(self.folder / "annotations.db") as store:
            return Visitor(self, {"invitation": invite(store, name)})


class Visitor:
    """One person's requests, without a browser."""

    def __init__(self, server, who=None):
        self._server = server
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        if who is not None:
            self.ask("POST", "/api/session", who)

    def ask(self, method, path, body=None):
        return json.loads(self.fetch(method, path, body))

    def fetch(self, method, path, body=None):
        request = urllib.request.Request(self._server.address + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with self._opener.open(request, timeout=60) as answer:
            return answer.read()

    def finished(self):
        """Images done or skipped, the first one first."""
        images = self.ask("GET", "/api/images")["images"][::-1]
        return [self.ask("GET", f"/api/images/{image['id']}") for image in images]

    def queue(self):
        return self.ask("GET", "/api/queue?count=4")["images"]

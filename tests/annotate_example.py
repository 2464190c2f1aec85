"""A real annotation server in a process of its own, for the tests of the page and of programs that talk to it."""

from __future__ import annotations

import http.cookiejar
import json
import os
import re
import signal
import subprocess
import sys
import urllib.request

SIZE = 48
DATA = {"size": SIZE, "train": 24, "validation": 1, "test": 1, "prevalence": 0.4}


def make_network(folder):
    """An untrained network for the phantom, saved in a run folder."""
    import torch

    from pellucid.data import open_dataset
    from pellucid.models import create_model, save_model

    torch.manual_seed(0)
    classes = open_dataset("phantom", options=DATA)["train"].classes
    made = {"widths": [4, 8], "blocks": [1, 1], "strides": [1, 2], "size": 32}
    return save_model(create_model("small", classes=classes, task="multilabel", **made), folder)


class Server:
    """`pellucid annotate serve`; killed and started again, it listens on the same port."""

    def __init__(self, folder, *options):
        self.folder, self.options, self.port, self.process = folder, options, 0, None
        self.network = make_network(folder / "run")

    @property
    def address(self):
        return f"http://127.0.0.1:{self.port}"

    def start(self):
        data = [part for key, value in DATA.items() for part in ("--data-option", f"{key}={value}")]
        command = ["annotate", "serve", self.network, "--data", "phantom", *data, "--no-open", "--port", self.port]
        store = ["--store", self.folder / "annotations.db"]
        environment = os.environ | {"PYTHONUNBUFFERED": "1", "OMP_NUM_THREADS": "1", "PELLUCID_PROGRESS": "0"}
        self.process = subprocess.Popen(
            [sys.executable, "-m", "pellucid.cli.app", *map(str, [*command, *store, *self.options])],
            stdout=subprocess.PIPE,
            stderr=(self.folder / "server.log").open("a"),
            text=True,
            env=environment,
        )
        told = ""
        for line in self.process.stdout:
            told += line
            found = re.search(r"the page is at http://127\.0\.0\.1:(\d+)/", line)
            if found:
                self.port = int(found.group(1))
                return self
        raise AssertionError(told + (self.folder / "server.log").read_text())

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.process.stdout.close()

    def visitor(self, name):
        return Visitor(self, name)


class Visitor:
    """One person's requests, without a browser."""

    def __init__(self, server, name):
        self._server = server
        self._opener = urllib.request.build_opener(urllib.request.HTTPCookieProcessor(http.cookiejar.CookieJar()))
        self.ask("POST", "/api/session", {"annotator": name})

    def ask(self, method, path, body=None):
        request = urllib.request.Request(self._server.address + path, method=method)
        if body is not None:
            request.data = json.dumps(body).encode()
            request.add_header("Content-Type", "application/json")
        with self._opener.open(request, timeout=60) as answer:
            return json.load(answer)

    def finished(self):
        """Images done or skipped, the first one first."""
        return self.ask("GET", "/api/images")["images"][::-1]

    def queue(self):
        return self.ask("GET", "/api/queue?count=4")["images"]

"""An annotation server that is killed whenever it is told so and started again at once, as often as asked.

Run as a program of its own: `helpers/annotate_killed_server.py RUN STORE TIMES DATA_OPTIONS_AS_JSON`. It says where
the page is; then, a line each, that a server is up and, after a line of input, how often it was killed. The socket
stays open between two servers, as behind systemd: who comes while there is none waits for the next. What takes long,
Python's imports, happens once; every server is a process of its own (fork), with all that is its own.
"""

from __future__ import annotations

import json
import logging
import os
import signal
import sys
from pathlib import Path

import torch
import uvicorn  # noqa: F401 (here, so that no server has to)

from pellucid.annotator.server import create_app  # noqa: F401 (likewise)
from pellucid.annotator.serving import serve, server_access
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.data import open_dataset
from pellucid.models.weights import load_model


def main(run, source, times, options):
    torch.set_num_threads(1)
    access = server_access("127.0.0.1", 0)
    part = open_dataset("phantom", options=options)["train"]
    print(access.base, flush=True)

    def start():
        """A server in a process of its own, which is about to take requests."""
        reading, writing = os.pipe()
        child = os.fork()
        if child == 0:
            logging.disable()
            os.close(reading)
            options = ServiceOptions(order="random", per_image=50, rhos=())  # nobody here looks at explanations
            service = open_service(part, load_model(run), source, options=options)
            serve(service, access, say=lambda _: os.write(writing, b"ready\n"), open_page=False)
            os._exit(0)
        os.close(writing)
        with os.fdopen(reading) as said:
            assert said.readline() == "ready\n"
        return child

    def kill(child):
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL

    for life in range(times):
        child = start()
        print("up", flush=True)
        sys.stdin.readline()
        kill(child)
        print(life + 1, flush=True)
    child = start()
    print("the last one", flush=True)
    sys.stdin.read()  # until whoever started it is done
    kill(child)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2], int(sys.argv[3]), json.loads(sys.argv[4]))

"""An annotation server that is killed at random moments and started again at once, as often as asked.

Run as a program of its own: `annotate_killed_server.py RUN STORE TIMES DATA_OPTIONS_AS_JSON`. It says where the page
is; then, a line each, how often it was killed. The socket stays open between two servers, as behind systemd: who comes
while there is none waits for the next. What takes long, Python's imports, happens once; every server is a process of
its own (fork) with its own network, desk and connections.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sys
import time

run, source, times, options = sys.argv[1:]

import torch  # noqa: E402
import uvicorn  # noqa: E402, F401 (imported here, so that no server has to)

from pellucid.annotate.opening import DeskOptions, open_desk  # noqa: E402
from pellucid.annotate.server import create_app  # noqa: E402, F401 (likewise)
from pellucid.annotate.serving import open_door, serve_desk  # noqa: E402
from pellucid.data import open_dataset  # noqa: E402
from pellucid.models.weights import load_model  # noqa: E402

torch.set_num_threads(1)
door = open_door("127.0.0.1", 0)
part = open_dataset("phantom", options=json.loads(options))["train"]
print(door.base, flush=True)


def serve(ready):
    """A server of its own; it says when it takes requests."""
    desk = open_desk(part, load_model(run), source, options=DeskOptions(order="random", per_image=50))
    serve_desk(desk, door, say=lambda _: os.write(ready, b"ready\n"), open_page=False)


rng = random.Random(0)
for life in range(int(times) + 1):
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        logging.disable()
        os.close(reading)
        serve(writing)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as said:
        assert said.readline() == "ready\n"
    if life < int(times):
        time.sleep(rng.uniform(0, 0.3))
        os.kill(child, signal.SIGKILL)
        assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
        print(life + 1, flush=True)
print("the last one", flush=True)
sys.stdin.read()  # until whoever started it is done
os.kill(child, signal.SIGKILL)
os.waitpid(child, 0)

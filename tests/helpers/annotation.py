"""A small phantom to annotate, an untrained network, a server on a port, and its clients; for the annotation tests."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from functools import partial
from uuid import uuid4

import httpx

from helpers.models import small
from pellucid.annotations.people import invite
from pellucid.data import open_dataset

OPTIONS = {"size": 32, "train": 24, "validation": 4, "test": 4, "prevalence": 0.4}
RECTANGLE = {"type": "rectangle", "x": 0.25, "y": 0.5, "width": 0.25, "height": 0.125}
NODULE = 5

# Over plain HTTP no certificate is looked at: httpx would read the world's authorities for every client, in the time of
# ten requests.
PLAIN = {"verify": False, "timeout": 60}  # seconds: of a busy machine
Client = partial(httpx.Client, **PLAIN)
http_get, http_post, http_request = (partial(f, **PLAIN) for f in (httpx.get, httpx.post, httpx.request))


def phantom_part(part="train"):
    return open_dataset("phantom", options=OPTIONS)[part]


def small_network(dataset, seed=0, name="small"):
    return small(seed, task=dataset.task, classes=dataset.classes, name=name).train()


def new_id():
    return str(uuid4())


@contextlib.contextmanager
def served(app):
    """An ASGI application on a port of this machine, in a thread of its own; yields its address."""
    from pellucid.annotator.serving import make_server

    listening = socket.create_server(("127.0.0.1", 0))
    server = make_server(app)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    while not server.started:
        time.sleep(0.01)
    try:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(20)


@contextlib.contextmanager
def signed_in(address, name="Ann"):
    """A client of the server who has said a name, which nobody used before."""
    with Client(base_url=address) as client:
        client.post("/api/session", json={"annotator": name}).raise_for_status()
        yield client


@contextlib.contextmanager
def invited(address, service, name="Ann"):
    """A client who shows an invitation, as one must for a name that was used in another browser."""
    with Client(base_url=address) as client:
        client.post("/api/session", json={"invitation": invite(service.store, name)}).raise_for_status()
        yield client


def first_image(client, count=1):
    return client.get("/api/queue", params={"count": count}).json()["images"][0]


def put_mark(client, image, mark=None, **changes):
    body = {"class": "Nodule", "kind": "relevant", "shape": RECTANGLE} | changes
    return client.put(f"/api/images/{image}/marks/{mark or new_id()}", json=body)

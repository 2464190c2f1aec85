"""Twenty annotators, and a hundred, at one request a second each: what the server takes, and whether anything is lost.

First they annotate: they wait for explanations, which the server makes meanwhile, and draw between. Then all draw at
once, a stroke a second each. The server is a process of its own. Writes benchmarks/results/annotate_load.csv.
Run it on two cores: `taskset -c 0,1 python benchmarks/annotate_load.py`.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from uuid import uuid4

import httpx
import numpy as np
import torch

from pellucid.annotations.store import open_store
from pellucid.data import open_dataset
from pellucid.models import create_model, save_model
from table import machine, versions, write

OPTIONS = {"train": 330, "size": 256}
WRITES = {"mark", "verdict", "done"}
SHAPE = {"type": "polygon", "points": [[0.2 + i / 1000, 0.5 - i / 900] for i in range(300)]}


class Annotator:
    """Asks for an image, looks at it and three explanations, marks it, closes it; a request a second."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self.client, self.times, self.kept, self.failed = client, [], [], []

    async def ask(self, what: str, method: str, path: str, **options) -> httpx.Response:
        """One request, timed; the second that it belongs to is waited for."""
        started = time.perf_counter()
        answer = await self.client.request(method, path, **options)
        spent = time.perf_counter() - started
        made_ahead = {"yes": ", made ahead", "no": ", waited for"}
        self.times.append((what + made_ahead.get(answer.headers.get("x-ahead"), ""), spent))
        if answer.status_code >= 400:
            self.failed.append((what, answer.status_code))
        await asyncio.sleep(max(0.0, 1 - spent))
        return answer

    async def mark(self, at: str, name: str) -> None:
        """A stroke, which has to be there in the end if the server said so."""
        mark = str(uuid4())
        body = {"class": name, "kind": "relevant", "shape": SHAPE}
        if (await self.ask("mark", "PUT", f"{at}/marks/{mark}", json=body)).status_code == 201:
            self.kept.append(mark)

    async def draw(self, until: float) -> None:
        """Stroke after stroke on one image, until the time is up."""
        image = (await self.client.get("/api/queue?count=1")).json()["images"][0]
        while time.monotonic() < until:
            await self.mark(f"/api/images/{image['id']}", image["classes"][0]["class"])

    async def work(self, until: float) -> None:
        """Image after image, until the time is up."""
        while time.monotonic() < until:
            images = (await self.ask("queue", "GET", "/api/queue?count=3")).json()["images"]
            if not images:
                return
            at = f"/api/images/{images[0]['id']}"
            best = max(images[0]["classes"], key=lambda c: c["probability"])
            await self.ask("pixels", "GET", f"{at}/pixels.png")
            for path in (f"cam/{best['index']}", f"saliency/{best['index']}", f"adversarial/{best['index']}?rho=0.1"):
                await self.ask("explanation", "GET", f"{at}/explanations/{path}")
            for _ in range(3):
                await self.mark(at, best["class"])
            await self.ask("verdict", "PUT", f"{at}/verdicts/{best['index']}", json={"present": "yes"})
            await self.ask("done", "PUT", f"{at}/state", json={"state": "done"})


async def crowd(address: str, people: int, seconds: float, warm: float) -> dict[str, list[Annotator]]:
    async with httpx.AsyncClient(base_url=address, timeout=120) as shared:
        for _ in range(600):
            try:
                await shared.get("/api/about")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    clients = []
    for i in range(people):
        client = httpx.AsyncClient(base_url=address, timeout=120)
        clients.append(client)
        (await client.post("/api/session", json={"annotator": f"P{i}"})).raise_for_status()
        (await client.get("/api/queue?count=3")).raise_for_status()
    await asyncio.sleep(warm)  # as long as the first images take to be explained

    found = {}
    for phase in ("annotate", "draw"):
        found[phase] = [Annotator(client) for client in clients]

        async def one(i: int, person: Annotator, do: str) -> None:
            await asyncio.sleep(i / people)  # not all in the same instant
            await (person.work if do == "annotate" else person.draw)(time.monotonic() + seconds)

        await asyncio.gather(*(one(i, person, phase) for i, person in enumerate(found[phase])))
    for client in clients:
        await client.aclose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, nargs="+", default=[20, 100])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm", type=float, default=60, help="seconds before the first request that counts")
    parser.add_argument("--size", type=int, default=64, help="of the network's images")
    options = parser.parse_args()
    rows = [row for people in options.people for row in measure(people, options)]
    write(Path(__file__).parent / "results" / "annotate_load.csv", rows)


def measure(number: int, options: argparse.Namespace) -> list[dict[str, object]]:
    """So many people at a server of their own."""
    load = os.getloadavg()[0]  # figures of a busy machine say little
    with tempfile.TemporaryDirectory() as folder:
        dataset = open_dataset("phantom", options=OPTIONS)["train"]
        torch.manual_seed(0)
        network = create_model("small", classes=dataset.classes, task=dataset.task, size=options.size)
        save_model(network, Path(folder) / "run")
        store = Path(folder) / "annotations.db"
        command = [sys.executable, "-m", "pellucid.cli.app", "annotate", "serve", str(Path(folder) / "run")]
        command += ["--data", "phantom", "--store", str(store), "--port", "8765", "--no-open"]
        command += [word for k, v in OPTIONS.items() for word in ("--data-option", f"{k}={v}")]
        server = subprocess.Popen(command, env=os.environ | {"OMP_NUM_THREADS": "1", "PELLUCID_PROGRESS": "0"})
        try:
            people = asyncio.run(crowd("http://127.0.0.1:8765", number, options.seconds, options.warm))
        finally:
            server.terminate()
            server.wait(60)
        with open_store(store) as opened:
            there = {mark.id for mark in opened.marks()}
    kept = {mark for phase in people.values() for person in phase for mark in person.kept}
    rows = []
    for phase, crowded in people.items():
        times = [time for person in crowded for time in person.times]
        for what in ("all", "writes", *dict.fromkeys(name for name, _ in times)):
            names = {name for name, _ in times} if what == "all" else WRITES if what == "writes" else {what}
            spent = np.array([t for name, t in times if name in names]) * 1000
            failed = [name for person in crowded for name, _ in person.failed]
            rows.append({
                "people": number,
                "phase": phase,
                "request": what,
                "count": len(spent),
                "median ms": f"{np.median(spent):.1f}",
                "95 % ms": f"{np.quantile(spent, 0.95):.1f}",
                "slowest ms": f"{spent.max():.1f}",
                "errors": sum(any(name.startswith(f) for name in names) for f in failed),
                "marks lost": len(kept - there),
                "load before": f"{load:.1f}",
                "machine": machine(len(os.sched_getaffinity(0))),
                "versions": versions("torch", "fastapi", "uvicorn", "sqlalchemy"),
            })  # fmt: skip
    return rows


if __name__ == "__main__":
    main()

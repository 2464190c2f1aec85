"""Twenty annotators at one request a second each: how long the annotation server takes, and whether anything is lost.

The server is a process of its own; it explains images meanwhile. Writes benchmarks/results/annotate_load.csv.
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

from pellucid.data import open_dataset
from pellucid.data.annotation_store import open_store
from pellucid.models import create_model, save_model
from table import machine, versions, write

OPTIONS = {"train": 240, "size": 256}
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
                mark = str(uuid4())
                body = {"class": best["class"], "kind": "relevant", "shape": SHAPE}
                if (await self.ask("mark", "PUT", f"{at}/marks/{mark}", json=body)).status_code == 201:
                    self.kept.append(mark)
            await self.ask("verdict", "PUT", f"{at}/verdicts/{best['index']}", json={"present": "yes"})
            await self.ask("done", "PUT", f"{at}/state", json={"state": "done"})


async def crowd(address: str, people: int, seconds: float, warm: float) -> list[Annotator]:
    async with httpx.AsyncClient(base_url=address, timeout=120) as shared:
        for _ in range(600):
            try:
                await shared.get("/api/about")
                break
            except httpx.TransportError:
                await asyncio.sleep(0.2)
    found = []
    for i in range(people):
        client = httpx.AsyncClient(base_url=address, timeout=120)
        (await client.post("/api/session", json={"annotator": f"P{i}"})).raise_for_status()
        (await client.get("/api/queue?count=3")).raise_for_status()
        found.append(Annotator(client))
    await asyncio.sleep(warm)  # as long as the first images take to be explained

    async def one(i: int) -> None:
        await asyncio.sleep(i / people)  # not all in the same instant
        await found[i].work(time.monotonic() + seconds)

    await asyncio.gather(*(one(i) for i in range(people)))
    for person in found:
        await person.client.aclose()
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--people", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--warm", type=float, default=60, help="seconds before the first request that counts")
    parser.add_argument("--size", type=int, default=64, help="of the network's images")
    options = parser.parse_args()
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
            people = asyncio.run(crowd("http://127.0.0.1:8765", options.people, options.seconds, options.warm))
        finally:
            server.terminate()
            server.wait(60)
        with open_store(store) as opened:
            there = {mark.id for mark in opened.marks()}
    kept = [mark for person in people for mark in person.kept]
    times = [time for person in people for time in person.times]
    rows = []
    for what in ("all", *dict.fromkeys(name for name, _ in times)):
        spent = np.array([t for name, t in times if what in ("all", name)]) * 1000
        rows.append({
            "request": what,
            "annotators": options.people,
            "count": len(spent),
            "median ms": f"{np.median(spent):.1f}",
            "95 % ms": f"{np.quantile(spent, 0.95):.1f}",
            "errors": sum(what.startswith(name) or what == "all" for person in people for name, _ in person.failed),
            "marks lost": len(set(kept) - there),
            "load before": f"{load:.1f}",
            "machine": machine(len(os.sched_getaffinity(0))),
            "versions": versions("torch", "fastapi", "uvicorn", "sqlalchemy"),
        })  # fmt: skip
    write(Path(__file__).parent / "results" / "annotate_load.csv", rows)


if __name__ == "__main__":
    main()

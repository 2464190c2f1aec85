"""The annotation server: the HTTP interface as the page uses it, and the machinery behind it, for a crowd."""

import io
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import timedelta
from uuid import UUID

import numpy as np
import pytest
import torch
from PIL import Image

from helpers.annotation import (
    NODULE,
    OPTIONS,
    RECTANGLE,
    Client,
    first_image,
    invited,
    new_id,
    phantom_part,
    put_mark,
    served,
    signed_in,
    small_network,
)
from pellucid.annotations.store import open_store
from pellucid.annotator.gate import Gate
from pellucid.annotator.server import create_app
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.annotator.worker import Picture, PictureCache, Worker
from pellucid.data import open_dataset
from pellucid.data.cache.pixels import materialize
from pellucid.explainers import explain
from pellucid.models.inference import as_pixels
from pellucid.types import InputSpec

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture(scope="module")
def network(dataset):
    return small_network(dataset)


@pytest.fixture
def service(dataset, network, tmp_path):
    options = ServiceOptions(rhos=(0.05, 0.2))
    opened = open_service(dataset, network, tmp_path / "annotations.db", name="runs/first", options=options)
    yield opened
    opened.close()


@pytest.fixture
def address(service):
    with served(create_app(service, Gate(None))) as found:
        yield found


@pytest.fixture
def ann(address):
    with signed_in(address) as client:
        yield client


# the interface as the page uses it


def test_an_image_from_first_to_last(ann, service, dataset):
    about = ann.get("/api/about").json()
    assert (about["annotator"], about["dataset"], about["per_image"]) == ("Ann", "phantom", 1)
    labels = {"adversarial": "Adversarial", "cam": "CAM", "grad-cam": "Grad-CAM", "saliency": "Saliency"}
    assert (about["methods"], about["labels"]) == (list(labels), labels)
    queue = ann.get("/api/queue?count=3").json()
    assert len(queue["images"]) == 3
    assert ann.get("/api/queue?count=3").json()["images"] == queue["images"]  # a reload, a second tab
    image = queue["images"][0]
    row = dataset.ids.index(service.image_of(image["id"]))
    assert (image["width"], image["height"], image["state"], image["note"]) == (32, 32, "offered", "")
    assert [c["label"] for c in image["classes"]] == ["yes" if t else "no" for t in dataset.targets[row]]
    mark = new_id()
    made = put_mark(ann, image["id"], mark)
    assert (made.status_code, made.json()["shape"], made.json()["class"]) == (201, RECTANGLE, "Nodule")
    assert put_mark(ann, image["id"], mark).status_code == 200  # a resend
    assert put_mark(ann, image["id"], mark, kind="irrelevant").status_code == 409
    stroke = {"type": "brush", "points": [[0.1, 0.1], [0.4, 0.5]], "radius": 0.05}
    assert put_mark(ann, image["id"], shape=stroke).json()["shape"] == stroke | {"aspect": 1.0}
    gone = put_mark(ann, image["id"], kind="irrelevant").json()["id"]
    assert ann.delete(f"/api/images/{image['id']}/marks/{gone}").json()["undone"] is True
    assert ann.delete(f"/api/images/{image['id']}/marks/{gone}").status_code == 200
    put_mark(ann, image["id"], gone, kind="irrelevant")  # a resend that comes late
    at = f"/api/images/{image['id']}"
    assert ann.put(f"{at}/verdicts/{NODULE}", json={"present": "no"}).json()["classes"][NODULE]["verdict"] == "no"
    assert ann.put(f"{at}/verdicts/{NODULE}", json={"present": None}).json()["classes"][NODULE]["verdict"] is None
    text = "'; DROP TABLE mark; -- <script>alert(1)</script>"
    assert ann.put(f"{at}/note", json={"text": text}).json()["note"] == text
    shown = ann.get(at).json()
    assert (shown["marks"][0]["id"], len(shown["marks"]), shown["note"]) == (mark, 2, text)
    assert ann.put(f"{at}/state", json={"state": "done"}).json()["state"] == "done"
    after = ann.get("/api/queue?count=3").json()
    assert [i["id"] for i in after["images"][:2]] == [i["id"] for i in queue["images"][1:]]
    assert after["progress"]["mine"] == {"done": 1, "skipped": 0}
    assert after["progress"]["annotators"] == [{"name": "Ann", "done": 1, "skipped": 0, "marks": 2}]
    assert [i["id"] for i in ann.get("/api/images").json()["images"]] == [image["id"]]
    assert ann.put(f"{at}/state", json={"state": "offered"}).status_code == 200  # open again
    assert image["id"] in [i["id"] for i in ann.get("/api/queue").json()["images"]]


def test_pictures_are_those_of_the_network(ann, service, dataset, network):
    image = first_image(ann)["id"]
    row = dataset.ids.index(service.image_of(image))
    answer = ann.get(f"/api/images/{image}/pixels.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), dataset.read(row))
    batch = as_pixels(materialize(dataset.subset([row]), InputSpec.square(1, 32)))
    for method in ("cam", "grad-cam", "saliency"):
        answer = ann.get(f"/api/images/{image}/explanations/{method}/{NODULE}")
        low, high = float(answer.headers["x-low"]), float(answer.headers["x-high"])
        found = np.asarray(Image.open(io.BytesIO(answer.content))) / 255 * (high - low) + low
        expected = explain(method, network, batch, NODULE).maps[0].detach().numpy()
        assert found == pytest.approx(expected, abs=(high - low) / 255 + 1e-5)
    for rho in ann.get("/api/about").json()["rhos"]:
        answer = ann.get(f"/api/images/{image}/explanations/adversarial/{NODULE}", params={"rho": rho})
        moved = as_pixels(np.asarray(Image.open(io.BytesIO(answer.content)))[None, None])
        assert float((moved - batch).pow(2).mean().sqrt()) == pytest.approx(float(answer.headers["x-rms"]), abs=2e-3)
        chance = float(torch.sigmoid(network.eval()(moved))[0, NODULE].detach())
        assert chance == pytest.approx(float(answer.headers["x-after"]), abs=0.02)
    again = ann.get(answer.request.url, headers={"If-None-Match": answer.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert answer.headers["cache-control"] == "private, no-cache"


def test_explanations_of_what_comes_next_are_made_ahead(ann, service):
    images = ann.get("/api/queue?count=2").json()["images"]
    expected = {c["index"] for c in sorted(images[1]["classes"], key=lambda c: -c["probability"])[:3]}
    row = service.row_of(service.image_of(images[1]["id"]))
    until = time.monotonic() + 60
    wanted = [(row, "adversarial", c, rho) for c in expected for rho in service.explanations.rhos]
    while any(service.explanations.cache.get(key) is None for key in wanted):
        assert time.monotonic() < until, "not made ahead"
        time.sleep(0.02)
    assert service.explanations.cache.get((row, "pixels", 0, 0.0)) is not None


def test_two_people_get_different_images_and_see_how_far_they_agree(dataset, network, tmp_path):
    service = open_service(dataset, network, tmp_path / "a.db", options=ServiceOptions(per_image=2, limit=2, rhos=()))
    with (
        served(create_app(service, Gate(None))) as address,
        signed_in(address) as ann,
        signed_in(address, "Bob") as bob,
    ):
        images = [i["id"] for i in ann.get("/api/queue").json()["images"]]
        assert [i["id"] for i in bob.get("/api/queue").json()["images"]] == images
        for client, boxes in ((ann, (0.25, 0.25)), (bob, (0.25, 0.375))):
            for image, x, present in zip(images, boxes, ("yes", "no"), strict=True):
                put_mark(client, image, shape=RECTANGLE | {"x": x})
                client.put(f"/api/images/{image}/verdicts/{NODULE}", json={"present": present})
                client.put(f"/api/images/{image}/state", json={"state": "done"})
        found = ann.get("/api/agreement").json()
        nodule = {"class": "Nodule", "verdicts": 2, "kappa": 1.0}
        assert found["classes"] == [
            nodule
            | {"relevant": {"pairs": 2, "iou": round((1 + 1 / 3) / 2, 4)}, "irrelevant": {"pairs": 0, "iou": None}}
        ]
        assert found["images"] == 2
        assert ann.get("/api/queue").json()["images"] == []
        assert ann.get("/api/images/" + images[0]).json()["marks"][0]["shape"]["x"] == 0.25  # one's own alone
    service.close()


def test_a_restarted_server_goes_on(dataset, network, tmp_path):
    service = open_service(dataset, network, tmp_path / "a.db", options=ServiceOptions(rhos=()))
    with served(create_app(service, Gate(None))) as address, signed_in(address, "Ännä O'Neil; x=1") as client:
        before = first_image(client)
        put_mark(client, before["id"])
        cookies = dict(client.cookies)
    service.close()
    service = open_service(dataset, network, tmp_path / "a.db", options=ServiceOptions(rhos=()))
    with served(create_app(service, Gate(None))) as address, Client(base_url=address, cookies=cookies) as client:
        assert client.get("/api/about").json()["annotator"] == "Ännä O'Neil; x=1"
        after = first_image(client)
        assert after["id"] == before["id"]
        assert len(after["marks"]) == 1
    service.close()


def test_after_a_start_with_other_images_there_is_work_and_what_was_drawn_arrives(dataset, network, tmp_path):
    def start(**options):
        return open_service(
            dataset, network, tmp_path / "a.db", options=ServiceOptions(rhos=(), order="random", **options)
        )

    service = start()
    with served(create_app(service, Gate(None))) as address, signed_in(address) as ann:
        before = [i["id"] for i in ann.get("/api/queue?count=4").json()["images"]]
        marks = {image: put_mark(ann, image).json()["id"] for image in before}
    service.close()
    service = start(limit=4, seed=2)
    assert not any(service.offers(service.image_of(image)) for image in before)
    with served(create_app(service, Gate(None))) as address, invited(address, service) as ann:
        now = ann.get("/api/queue?count=4").json()["images"]
        assert len(now) == 4
        assert all(service.offers(service.image_of(image["id"])) for image in now)
        at = f"/api/images/{before[0]}"
        for path in ("", "/pixels.png", "/explanations/cam/0"):
            assert ann.get(at + path).status_code == 404
        assert ann.delete(f"{at}/marks/{marks[before[0]]}").json()["undone"]
        assert ann.delete(f"{at}/marks/{new_id()}").status_code == 410  # there is none, which is not the same as 404
        assert put_mark(ann, before[0]).status_code == 201
        said = ann.put(f"{at}/verdicts/{NODULE}", json={"present": "no"}).json()["classes"][NODULE]
        assert (said["verdict"], said["probability"]) == ("no", None)
        assert ann.put(f"{at}/state", json={"state": "done"}).status_code == 200
        assert ann.delete(f"/api/images/0000000000000000/marks/{new_id()}").status_code == 404
    service.close()


def test_what_was_drawn_while_others_got_the_image_is_kept(dataset, network, tmp_path):
    service = open_service(
        dataset, network, tmp_path / "a.db", options=ServiceOptions(rhos=(), limit=1, hold_minutes=0)
    )
    with (
        served(create_app(service, Gate(None))) as address,
        signed_in(address) as ann,
        signed_in(address, "Bob") as bob,
    ):
        image = first_image(ann)["id"]
        assert first_image(bob)["id"] == image
        assert put_mark(ann, image).status_code == 201
        assert ann.get(f"/api/images/{image}").json()["state"] == "lapsed"
        assert ann.get("/api/progress").json()["mine"] == {"done": 0, "skipped": 0}
        assert ann.put(f"/api/images/{image}/state", json={"state": "done"}).status_code == 200
        assert put_mark(bob, image).status_code == 201
    service.close()


def test_the_list_of_ones_images_takes_no_look_at_them(dataset, network, tmp_path):
    looks = []
    watched = replace(dataset, read=lambda row: looks.append(row) or dataset.read(row))
    service = open_service(watched, network, tmp_path / "a.db", options=ServiceOptions(rhos=()))
    with served(create_app(service, Gate(None))) as address, signed_in(address) as ann:
        for state in ("done", "skipped"):
            image = first_image(ann)["id"]
            put_mark(ann, image)
            ann.delete(f"/api/images/{image}/marks/{put_mark(ann, image).json()['id']}")
            ann.put(f"/api/images/{image}/state", json={"state": state})
    service.close()
    service = open_service(watched, network, tmp_path / "a.db", options=ServiceOptions(rhos=()))
    with served(create_app(service, Gate(None))) as address, invited(address, service) as ann:
        looks.clear()
        images = ann.get("/api/images").json()["images"]
        assert [(i["state"], i["marks"], set(i)) for i in images] == [
            (state, 1, {"id", "state", "marks"}) for state in ("skipped", "done")
        ]
        assert ann.get(f"/api/images/{images[0]['id']}").json()["width"] == 32  # known from before
        assert looks == []
    service.close()


def test_pictures_of_other_images_under_the_same_names_are_not_taken_for_the_same(dataset, network, tmp_path):
    tags = []
    for number, part in enumerate((dataset, replace(dataset, read=lambda row: 255 - dataset.read(row)))):
        service = open_service(
            part, network, tmp_path / f"{number}.db", options=ServiceOptions(order="random", rhos=(0.1,))
        )
        with served(create_app(service, Gate(None))) as address, signed_in(address) as ann:
            at = f"/api/images/{first_image(ann)['id']}"
            paths = ["pixels.png", "explanations/saliency/0", "explanations/adversarial/0?rho=0.1"]
            tags.append([(at, path, ann.get(f"{at}/{path}").headers["etag"]) for path in paths])
        service.close()
    for (image, path, tag), other in zip(*tags, strict=True):
        assert (image, path) == other[:2]
        assert tag != other[2]


def test_what_waits_in_a_browser_is_for_images_drawn_alike(network, tmp_path):
    def scope(part, name):
        service = open_service(part, network, tmp_path / name, options=ServiceOptions(rhos=()))
        service.close()
        return service.about(None)["scope"]

    part = phantom_part()
    other = open_dataset("phantom", seed=1, options=OPTIONS)["train"]
    found = [scope(part, "1.db"), scope(part, "2.db"), scope(other, "3.db"), scope(replace(part, origin=""), "4.db")]
    assert found[0] == found[1]
    assert len(set(found[1:])) == 3
    assert found[3] == "phantom/train"


# the machinery


def test_the_worker_does_first_what_somebody_waits_for():
    worker, done = Worker(), []
    blocked = worker.submit(lambda: time.sleep(0.2))
    later = [worker.submit(lambda i=i: done.append(("soon", i)), 1) for i in range(3)]
    first = worker.submit(lambda: done.append(("wanted", 0)), 0)
    broken = worker.submit(lambda: 1 / 0, 0)
    for future in (blocked, first, *later):
        future.result(10)
    assert done == [("wanted", 0), ("soon", 0), ("soon", 1), ("soon", 2)]
    with pytest.raises(ZeroDivisionError):
        broken.result(10)
    worker.stop()


def test_the_cache_keeps_within_its_bounds():
    cache = PictureCache(1000)
    for i in range(100):
        cache.put(i, Picture(b"x" * 300, str(i)))
        cache.get(0)
    assert cache.bytes_held <= 1000
    assert [i for i in range(100) if cache.get(i)] == [0, 98, 99]


def test_a_crowd_loses_nothing(dataset, network, tmp_path):
    """Eight people at once, every stroke sent twice, some images skipped: all that was acknowledged is kept, once."""
    service = open_service(dataset, network, tmp_path / "a.db", options=ServiceOptions(per_image=3, rhos=(0.1,)))
    with served(create_app(service, Gate(None))) as address:

        def annotate(number):
            rng, kept = random.Random(number), []
            with signed_in(address, f"P{number}") as client:
                while images := client.get("/api/queue?count=2").json()["images"]:
                    image = images[0]["id"]
                    assert client.get(f"/api/images/{image}/explanations/cam/0").status_code == 200
                    for _ in range(rng.randint(0, 3)):
                        mark = new_id()
                        answers = [put_mark(client, image, mark).status_code for _ in range(2)]
                        assert answers == [201, 200]
                        kept.append(mark)
                    state = rng.choice(["done", "done", "skipped"])
                    assert client.put(f"/api/images/{image}/state", json={"state": state}).status_code == 200
            return kept

        with ThreadPoolExecutor(8) as crowd:
            kept = [mark for marks in crowd.map(annotate, range(8)) for mark in marks]
    service.close()
    with open_store(tmp_path / "a.db") as store:
        assert sorted(m.id for m in store.marks()) == sorted(kept)
        assert all(UUID(m.id) for m in store.marks())
        done = [v.image for v in store.visits() if v.state == "done"]
        assert max(done.count(image) for image in dataset.ids) <= 3
        assert all(re.fullmatch(r"P\d", v.annotator) for v in store.visits())
        assert timedelta(0) <= store.marks()[-1].created - store.marks()[0].created < timedelta(minutes=10)

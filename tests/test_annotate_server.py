"""The annotation server: acquisition against closed forms, the HTTP interface as the page uses it, what it refuses."""

import io
import logging
import random
import re
import time
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import httpx
import numpy as np
import pytest
import torch
from PIL import Image

from annotation_example import RECTANGLE, new_id, phantom_part, served, signed_in, small_network
from pellucid.annotate.acquisition import arrange, disagreement, mixed, outside, rank, uncertainty, usual_place
from pellucid.annotate.opening import DeskOptions, open_desk
from pellucid.annotate.security import Gate
from pellucid.annotate.server import create_app
from pellucid.annotate.serving import is_local, make_gate
from pellucid.annotate.worker import Picture, PictureCache, Worker
from pellucid.data.annotation_shapes import Rectangle
from pellucid.data.annotation_store import open_store
from pellucid.data.annotations import Mark
from pellucid.data.cache import materialize
from pellucid.explain import class_activation_maps, explain
from pellucid.models.inference import as_pixels, predict, probabilities
from pellucid.types import InputError

TOKEN = "a token of enough characters"
NODULE = 5


@pytest.fixture(scope="module")
def dataset():
    return phantom_part()


@pytest.fixture(scope="module")
def network(dataset):
    return small_network(dataset)


@pytest.fixture
def desk(dataset, network, tmp_path):
    opened = open_desk(dataset, network, tmp_path / "annotations.db", name="runs/first")
    yield opened
    opened.close()


@pytest.fixture
def address(desk):
    with served(create_app(desk, Gate(None))) as found:
        yield found


@pytest.fixture
def ann(address):
    with signed_in(address) as client:
        yield client


def first_image(client, count=1):
    return client.get("/api/queue", params={"count": count}).json()["images"][0]


def put_mark(client, image, mark=None, **changes):
    body = {"class": "Nodule", "kind": "relevant", "shape": RECTANGLE} | changes
    return client.put(f"/api/images/{image}/marks/{mark or new_id()}", json=body)


# acquisition


def test_uncertainty_is_entropy():
    p = np.array([[0.5, 0.25, 0.25], [1, 0, 0], [1 / 3] * 3])
    assert uncertainty(p, "multiclass") == pytest.approx([1.5 / np.log2(3), 0, 1])
    q = np.array([[0.1, 0.9], [0.5, 0.0], [0.0, 1.0]])
    assert uncertainty(q, "multilabel") == pytest.approx([0.4689955935892812, 1, 0])


def test_disagreement_is_the_jensen_shannon_divergence():
    from scipy.spatial.distance import jensenshannon

    rng = np.random.default_rng(0)
    p, q = rng.dirichlet(np.ones(4), 20), rng.dirichlet(np.ones(4), 20)
    expected = [jensenshannon(a, b, base=2) ** 2 for a, b in zip(p, q, strict=True)]
    assert disagreement(p, q, "multiclass") == pytest.approx(expected)
    labels = [
        [jensenshannon([a, 1 - a], [b, 1 - b], base=2) ** 2 for a, b in zip(*r, strict=True)]
        for r in zip(p, q, strict=True)
    ]
    assert disagreement(p, q, "multilabel") == pytest.approx(np.max(labels, axis=1))
    assert disagreement(p, p, "multilabel") == pytest.approx(np.zeros(20), abs=1e-12)


def test_outside_is_the_share_of_positive_heat_where_no_region_is():
    heat = np.array([[[[3.0, 1.0], [-5.0, 0.0]], [[0.0, 4.0], [0.0, 0.0]]]])  # one image, two classes
    regions = np.array([[[1.0, 0.0], [0.0, 0.0]], [[1.0, 0.5], [0.0, 0.0]]])
    assert outside(heat, regions, np.array([[1.0, 0.0]])).tolist() == [0.25]
    assert outside(heat, regions, np.array([[0.0, 1.0]])).tolist() == [0.5]
    assert outside(heat, regions, np.array([[1.0, 3.0]])) == pytest.approx([(0.25 + 3 * 0.5) / 4])
    assert np.isnan(outside(heat, np.zeros((2, 2, 2)), np.ones((1, 2)))).all()
    nothing_for_the_second = regions * np.array([1, 0])[:, None, None]
    assert outside(heat, nothing_for_the_second, np.ones((1, 2))).tolist() == [0.25]


def test_the_usual_place_of_a_class():
    masks = np.zeros((4, 2, 1, 2), dtype=bool)
    masks[:, 0, 0, 0], masks[0, 0, 0, 1] = True, True
    assert usual_place(masks).tolist() == [[[1.0, 0.25]], [[0.0, 0.0]]]
    assert usual_place(masks[:0]).tolist() == [[[0.0, 0.0]], [[0.0, 0.0]]]


def test_orders_are_seeded_and_complete():
    scores = {"uncertainty": np.array([0.1, 0.9, 0.5, np.nan]), "outside": np.array([1.0, 0, 0, 0])}
    assert arrange("uncertainty", scores, 4, seed=0) == [1, 2, 0, 3]
    assert arrange("outside", scores, 4, seed=3)[0] == 0
    assert arrange("random", {}, 50, seed=1) == arrange("random", {}, 50, seed=1) != arrange("random", {}, 50, seed=2)
    assert sorted(arrange("mixed", scores, 4, seed=5)) == [0, 1, 2, 3]
    assert mixed([[0, 1, 2, 3], [3, 2, 1, 0]]) == [0, 3, 1, 2]
    ties = {tuple(rank(np.zeros(3), seed)) for seed in range(60)}
    assert len(ties) == 6  # every order of equal ones comes up
    with pytest.raises(InputError, match="--beside"):
        arrange("disagreement", scores, 4, seed=0)


def test_the_order_follows_what_was_marked(dataset, network, tmp_path):
    """Against the score worked out by hand from the network's own maps."""
    options = DeskOptions(order="outside")
    desk = open_desk(dataset, network, tmp_path / "a.db", options=options)
    place = Rectangle(0.0, 0.0, 0.5, 0.5)
    desk.store.add_mark(Mark(dataset.ids[0], "Nodule", "relevant", place, "Ann"))
    desk.rearrange()
    batch = as_pixels(materialize(dataset, size=32, channels=1))
    heat = class_activation_maps(network, batch)[:, NODULE].clamp(min=0).numpy()
    half = heat.shape[1] // 2
    total = heat.sum((1, 2))
    share = np.where(total > 0, 1 - heat[:, :half, :half].sum((1, 2)) / np.where(total > 0, total, 1), -1)
    found = [dataset.ids.index(name) for name in desk.ranking.ids]
    assert (np.diff(share[found]) < 2e-3).all()  # the server keeps its maps in half precision
    desk.close()


def test_two_networks_can_disagree(dataset, network, tmp_path):
    other = small_network(dataset, seed=5)
    options = DeskOptions(order="disagreement", limit=9, seed=3)
    desk = open_desk(dataset, network, tmp_path / "a.db", beside=other, options=options)
    offered = dataset.limit(9, seed=3)
    pictures = materialize(offered, size=32, channels=1)
    p, q = (probabilities(predict(net, pictures), "multilabel") for net in (network, other))
    score = dict(zip(offered.ids, disagreement(p, q, "multilabel"), strict=True))
    assert list(desk.ranking.ids) == sorted(offered.ids, key=lambda name: -score[name])
    desk.close()
    with pytest.raises(InputError, match="--beside"):
        open_desk(dataset, network, tmp_path / "b.db", options=DeskOptions(order="disagreement"))


# the interface as the page uses it


def test_an_image_from_first_to_last(ann, desk, dataset):
    about = ann.get("/api/about").json()
    assert (about["annotator"], about["dataset"], about["per_image"]) == ("Ann", "phantom", 1)
    queue = ann.get("/api/queue?count=3").json()
    assert len(queue["images"]) == 3
    assert ann.get("/api/queue?count=3").json()["images"] == queue["images"]  # a reload, a second tab
    image = queue["images"][0]
    row = dataset.ids.index(desk.image_of(image["id"]))
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


def test_pictures_are_those_of_the_network(ann, desk, dataset, network):
    image = first_image(ann)["id"]
    row = dataset.ids.index(desk.image_of(image))
    answer = ann.get(f"/api/images/{image}/pixels.png")
    assert np.array_equal(np.asarray(Image.open(io.BytesIO(answer.content))), dataset.read(row))
    batch = as_pixels(materialize(dataset.subset([row]), size=32, channels=1))
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


def test_explanations_of_what_comes_next_are_made_ahead(ann, desk):
    images = ann.get("/api/queue?count=2").json()["images"]
    expected = {c["index"] for c in sorted(images[1]["classes"], key=lambda c: -c["probability"])[:3]}
    row = desk.row_of(desk.image_of(images[1]["id"]))
    until = time.monotonic() + 60
    wanted = [(row, "adversarial", c, rho) for c in expected for rho in desk.explanations.rhos]
    while any(desk.explanations.cache.get(key) is None for key in wanted):
        assert time.monotonic() < until, "not made ahead"
        time.sleep(0.02)
    assert desk.explanations.cache.get((row, "pixels", 0, 0.0)) is not None


def test_two_people_get_different_images_and_see_how_far_they_agree(dataset, network, tmp_path):
    desk = open_desk(dataset, network, tmp_path / "a.db", options=DeskOptions(per_image=2, limit=2))
    with served(create_app(desk, Gate(None))) as address, signed_in(address) as ann, signed_in(address, "Bob") as bob:
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
    desk.close()


def test_a_restarted_server_goes_on(dataset, network, tmp_path):
    desk = open_desk(dataset, network, tmp_path / "a.db")
    with served(create_app(desk, Gate(None))) as address, signed_in(address, "Ännä O'Neil; x=1") as client:
        before = first_image(client)
        put_mark(client, before["id"])
        cookies = dict(client.cookies)
    desk.close()
    desk = open_desk(dataset, network, tmp_path / "a.db")
    with served(create_app(desk, Gate(None))) as address, httpx.Client(base_url=address, cookies=cookies) as client:
        assert client.get("/api/about").json()["annotator"] == "Ännä O'Neil; x=1"
        after = first_image(client)
        assert after["id"] == before["id"]
        assert len(after["marks"]) == 1
    desk.close()


# what is refused


def test_other_peoples_images_and_marks(ann, address, caplog):
    with signed_in(address, "Bob") as bob:
        mine, theirs = first_image(ann)["id"], first_image(bob)["id"]
        mark = put_mark(ann, mine).json()["id"]
        caplog.set_level(logging.WARNING, "pellucid.annotate")
        refused = [
            bob.get(f"/api/images/{mine}"),
            bob.get(f"/api/images/{mine}/pixels.png"),
            bob.get(f"/api/images/{mine}/explanations/cam/0"),
            put_mark(bob, mine),
            bob.delete(f"/api/images/{mine}/marks/{mark}"),
            bob.put(f"/api/images/{mine}/note", json={"text": "x"}),
            bob.put(f"/api/images/{mine}/state", json={"state": "done"}),
        ]
        assert [r.status_code for r in refused] == [403] * 7
        assert put_mark(bob, theirs, mark).status_code == 409
        assert bob.delete(f"/api/images/{theirs}/marks/{mark}").status_code == 404
        assert [m["id"] for m in ann.get(f"/api/images/{mine}").json()["marks"]] == [mark]
    assert len([r for r in caplog.records if "refused with 403" in r.getMessage()]) == 7


def test_somebody_elses_mark_on_a_shared_image(dataset, network, tmp_path):
    desk = open_desk(dataset, network, tmp_path / "a.db", options=DeskOptions(per_image=2))
    with served(create_app(desk, Gate(None))) as address, signed_in(address) as ann, signed_in(address, "Bob") as bob:
        image = first_image(ann)["id"]
        assert first_image(bob)["id"] == image
        mark = put_mark(ann, image).json()["id"]
        assert bob.delete(f"/api/images/{image}/marks/{mark}").status_code == 403
        assert len(ann.get(f"/api/images/{image}").json()["marks"]) == 1
    desk.close()


def mark_of(shape, name=b'"Nodule"', kind=b'"relevant"'):
    """The body of a mark, as bytes: JSON that no encoder would write."""
    return b'{"class": ' + name + b', "kind": ' + kind + b', "shape": ' + shape + b"}"


def outline_of(points):
    return mark_of(b'{"type": "polygon", "points": [' + points + b"]}")


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"{", 400),
        (b"\xff\xff", 400),
        (b"[" * 100_000, 400),
        (b"[]", 400),
        (b"{}", 400),
        (mark_of(b'{"type": "circle"}'), 400),
        (mark_of(b"{}", name=b'"Dragon"'), 400),
        (mark_of(b"{}", name=b'["Nodule"]'), 400),
        (mark_of(b"{}", kind=b'"boring"'), 400),
        (mark_of(b'{}, "annotator": "Bob"'), 400),
        (mark_of(b'{"type": "rectangle", "x": 0, "y": 0, "width": 2, "height": 1}'), 400),
        (outline_of(b"[0,0],[1,1],[NaN,0]"), 400),
        (outline_of(b"[0,0],[1,1],[1e999,0]"), 400),
        (outline_of(b"[0,0]," * 20_000 + b"[1,1]"), 400),
        (outline_of(b"[0,0]," * 200_000 + b"[1,1]"), 413),
    ],
)
def test_bad_marks(ann, body, status):
    image = first_image(ann)["id"]
    answer = ann.put(
        f"/api/images/{image}/marks/{new_id()}", content=body, headers={"Content-Type": "application/json"}
    )
    assert answer.status_code == status
    assert answer.json()["error"]
    assert ann.get(f"/api/images/{image}").json()["marks"] == []


def test_a_large_body_that_does_not_say_so(ann):
    image = first_image(ann)["id"]
    chunks = (b"x" * 65536 for _ in range(64))
    answer = ann.put(f"/api/images/{image}/note", content=chunks, headers={"Content-Type": "application/json"})
    assert answer.status_code == 413


def test_bad_notes_verdicts_states_and_names(ann, address):
    at = f"/api/images/{first_image(ann)['id']}"
    json_kind = {"Content-Type": "application/json"}
    answers = [
        ann.put(f"{at}/note", json={"text": "x" * 10_001}),
        ann.put(f"{at}/note", content=b'{"text": "\\ud800"}', headers=json_kind),
        ann.put(f"{at}/note", json={"text": "a\0b"}),
        ann.put(f"{at}/note", json={"text": 1}),
        ann.put(f"{at}/verdicts/5", json={"present": "maybe"}),
        ann.put(f"{at}/verdicts/x", json={"present": "yes"}),
        ann.put(f"{at}/state", json={"state": "lost"}),
        ann.put(f"{at}/marks/1", json={"class": "Nodule", "kind": "relevant", "shape": RECTANGLE}),
        ann.get("/api/queue?count=1000"),
        ann.get(f"{at}/explanations/adversarial/0?rho=0.3"),
        ann.get(f"{at}/explanations/adversarial/0"),
        ann.get(f"{at}/explanations/cam/0?rho=0.1"),
        ann.post("/api/session", json={"annotator": "   "}),
        ann.post("/api/session", json={"annotator": "a\nb"}),
        ann.post("/api/session", json={"annotator": "x" * 81}),
    ]
    assert [a.status_code for a in answers] == [400] * len(answers)
    missing = [f"{at}/explanations/lime/0", f"{at}/explanations/cam/99", "/api/images/0000000000000000", "/api/x"]
    assert [ann.get(path).status_code for path in missing] == [404] * len(missing)
    assert ann.put(f"{at}/verdicts/99", json={"present": "yes"}).status_code == 404
    assert httpx.get(address + "/api/queue").status_code == 401  # nobody said who
    assert ann.put(f"{at}/note", content=b'{"text": "x"}', headers={"Content-Type": "text/plain"}).status_code == 415


@pytest.mark.parametrize(
    "path",
    [
        "/static/../server.py",
        "/static/%2e%2e/server.py",
        "/static/..%2fserver.py",
        "/static//etc/passwd",
        "/static/%00",
        "/api/images/..%2f..%2fetc%2fpasswd",
    ],
)
def test_paths_do_not_climb(address, path):
    import socket

    host, port = address.removeprefix("http://").split(":")
    with socket.create_connection((host, int(port))) as raw:  # a client library would tidy the path
        raw.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n".encode())
        answer = b"".join(iter(lambda: raw.recv(4096), b""))
    assert int(answer.split()[1]) in (400, 401, 404)
    assert b"FastAPI" not in answer


def test_other_sites_are_kept_out(ann, address):
    at = f"/api/images/{first_image(ann)['id']}"
    rebound = httpx.get(address + "/api/about", headers={"Host": "evil.example"})
    assert rebound.status_code == 421
    for headers in ({"Origin": "http://evil.example"}, {"Origin": "null"}, {"Sec-Fetch-Site": "cross-site"}):
        assert ann.put(f"{at}/note", json={"text": "x"}, headers=headers).status_code == 403
        assert ann.delete(f"{at}/marks/{new_id()}", headers=headers).status_code == 403
    assert ann.put(f"{at}/note", json={"text": "x"}, headers={"Origin": address}).status_code == 200
    answer = ann.get("/api/about")
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert "http" not in policy  # no request to anywhere
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers
    cookie = ann.post("/api/session", json={"annotator": "Ann"}).headers["set-cookie"].lower()
    assert "httponly" in cookie
    assert "samesite=strict" in cookie


def test_no_entry_without_the_token(desk, caplog):
    gate = Gate(TOKEN)
    caplog.set_level(logging.INFO, "pellucid.annotate")
    with served(create_app(desk, gate, local=False)) as address:

        def get(path, **headers):
            return httpx.get(address + path, headers=headers).status_code

        assert get("/api/about") == 401
        assert get("/api/about", Authorization="Bearer wrong") == 401
        assert get("/api/about", Authorization="Bearer ünï".encode()) == 401
        assert get("/api/about", Authorization=f"Bearer {TOKEN}") == 200
        assert get("/api/about", Host="hospital.example", Authorization=f"Bearer {TOKEN}") == 200
        assert httpx.post(address + "/api/session", json={"annotator": "Eve", "token": "wrong"}).status_code == 401
        code = gate.make_code()
        with httpx.Client(base_url=address) as client:
            assert client.get(f"/enter/{code}").status_code == 303
            client.post("/api/session", json={"annotator": "Ann"}).raise_for_status()
            assert client.get("/api/queue").status_code == 200
        assert get(f"/enter/{code}") == 401  # it works once
        with httpx.Client(base_url=address) as client:
            client.post("/api/session", json={"annotator": "Bob", "token": TOKEN}).raise_for_status()
            assert client.get("/api/queue").status_code == 200
    told = "\n".join(r.getMessage() for r in caplog.records)
    assert "refused with 401" in told
    assert TOKEN not in told
    assert code not in told


def test_a_token_where_one_is_needed():
    assert is_local("127.0.0.1")
    assert is_local("::1")
    assert not is_local("0.0.0.0")
    assert not is_local("hospital.example")
    assert make_gate("127.0.0.1", None)[0].token is None
    made = make_gate("0.0.0.0", None)[0].token
    assert made is not None
    assert len(made) >= 32
    assert make_gate("0.0.0.0", None)[0].token != made
    for bad in ("short", "a token with an umlaut: ä", "a token with a\nline break"):
        with pytest.raises(InputError, match="at least 16"):
            make_gate("0.0.0.0", bad)


def test_the_command_says_what_is_wrong(finished, phantom, tmp_path, pellucid):
    where = ["--data", "phantom", "--no-open", "--port", "0", "--store", tmp_path / "a.db"]
    for more, told in (
        (["--order", "uncertain"], "Did you mean 'uncertainty'"),
        (["--order", "disagreement"], "--beside"),
        (["--rhos", "0.1,x"], "--rhos are numbers"),
        (["--rhos", "0"], "rho must be above 0"),
        (["--split", "tests"], "no 'tests' part"),
        (["--host", "0.0.0.0", "--token", "short"], "at least 16"),
        (["--host", "no.such.host.invalid"], "cannot listen"),
    ):
        assert told in str(pellucid("annotate", "serve", finished.path, *where, *more)[0])


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
    desk = open_desk(dataset, network, tmp_path / "a.db", options=DeskOptions(per_image=3, rhos=(0.1,)))
    with served(create_app(desk, Gate(None))) as address:

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
    desk.close()
    with open_store(tmp_path / "a.db") as store:
        assert sorted(m.id for m in store.marks()) == sorted(kept)
        assert all(UUID(m.id) for m in store.marks())
        done = [v.image for v in store.visits() if v.state == "done"]
        assert max(done.count(image) for image in dataset.ids) <= 3
        assert all(re.fullmatch(r"P\d", v.annotator) for v in store.visits())
        assert timedelta(0) <= store.marks()[-1].created - store.marks()[0].created < timedelta(minutes=10)

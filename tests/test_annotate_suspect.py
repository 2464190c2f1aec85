"""One suspect, marked once for all images that show it: what is kept, undone, refused, and the page that does it."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace

import httpx
import numpy as np
import pytest

from helpers.annotation import OPTIONS, phantom_part, served, signed_in, small_network
from helpers.axe import violations
from helpers.discovery import estimate, make_discovery, make_suspect
from pellucid.annotations.store import open_store
from pellucid.annotator import serving
from pellucid.annotator.gate import Gate
from pellucid.annotator.server import create_app
from pellucid.annotator.setup import ServiceOptions, open_service
from pellucid.annotator.suspect import OpenSuspect, SuspectPage
from pellucid.evaluation.discovery.results import Discovery
from pellucid.evaluation.discovery.suspect_marks import saved_boxes
from pellucid.models.weights import load_model, save_model
from pellucid.types import Box, InputError
from pellucid.verbs.session import results_key_of

pytestmark = pytest.mark.slow
SIDE, NETWORK = 32, "a" * 64


@pytest.fixture(scope="module")
def data():
    return phantom_part()


@pytest.fixture(scope="module")
def network(data):
    return small_network(data)


@pytest.fixture
def folder(data, tmp_path):
    """A discovery on the training images: the first suspect lies in the corner of every third of them."""
    one, name = make_suspect(), data.classes[1]
    region, window = np.zeros((SIDE, SIDE), bool), np.zeros((SIDE, SIDE), bool)
    region[1:3, 29:31], window[:4, 27:] = True, True
    effects = (
        replace(one.effects[0], class_name=name),
        replace(one.effects[1], class_name=data.classes[0], put_in=estimate(0.0)),
    )
    present = np.arange(len(data)) % 3 == 0
    shown_ids = tuple(np.array(data.ids)[present])
    one = replace(one, class_name=name, region=region, window=window, effects=effects, present=present, boxes={})
    one = replace(one, exemplars=shown_ids[:3], without=())
    about = {"data": "phantom", "split": "train", "origin": data.origin, "fingerprint": data.fingerprint}
    pictures = {name: np.full((1, SIDE, SIDE), 60, np.uint8) for name in shown_ids[:3]}
    discovery = replace(
        make_discovery(one, make_suspect(2, "whole image")),
        about=about | {"model": "runs/first", "network": NETWORK},
        ids=data.ids,
        pictures=pictures,
    )
    discovery.save(tmp_path / "suspects")
    return tmp_path / "suspects"


@pytest.fixture
def address(folder, data, network, tmp_path):
    opened = OpenSuspect.open(folder / "1", network, NETWORK, data)
    options = ServiceOptions(order="random")
    service = open_service(data, network, tmp_path / "annotations.db", options=options, suspect=opened)
    app = create_app(service, Gate(None), suspect=SuspectPage(opened, service.store))
    with served(app) as where:
        yield where
    service.close()


def masks(tmp_path, data):
    """What is marked as irrelevant to the suspect's class, (N, H, W), and to all others together."""
    with open_store(tmp_path / "annotations.db") as store:
        relevant, irrelevant = store.annotations().masks(data.ids, data.classes, SIDE)
    assert not relevant.any()
    return irrelevant[:, 1], np.delete(irrelevant, 1, axis=1)


def test_one_mark_is_on_all_images_that_show_it_and_one_undo_takes_it_back(address, folder, data, tmp_path):
    window = np.zeros((SIDE, SIDE), bool)
    window[:4, 27:] = True
    present = (np.arange(len(data)) % 3 == 0)[:, None, None]
    with signed_in(address) as ann:
        answer = ann.put("/api/suspect", json={"box": None}).json()
        assert answer["marked"] == {"images": 8, "by": "Ann"}
        own, others = masks(tmp_path, data)
        np.testing.assert_array_equal(own, present & window)
        assert not others.any()
        assert saved_boxes(folder, 1) is None
        assert (folder / "1" / "mark.json").exists()

        ann.put("/api/suspect", json={"box": [2, 3, 5, 4]}).raise_for_status()  # in the place of the first
        window[:], window[3:7, 2:7] = False, True
        np.testing.assert_array_equal(masks(tmp_path, data)[0], present & window)
        assert saved_boxes(folder, 1) == (Box(2, 3, 5, 4),)
        assert ann.get("/api/suspect").json()["boxes"] == [[2, 3, 5, 4]]

        assert ann.delete("/api/suspect").json()["marked"] is None
        assert not masks(tmp_path, data)[0].any()
        assert not (folder / "1" / "mark.json").exists()
        assert ann.delete("/api/suspect").json()["marked"] is None


def test_only_who_marked_it_may_change_it(address, tmp_path, data):
    with signed_in(address) as ann, signed_in(address, "Bob") as bob:
        ann.put("/api/suspect", json={"box": None}).raise_for_status()
        before = masks(tmp_path, data)[0]
        for answer in (bob.put("/api/suspect", json={"box": [0, 0, 9, 9]}), bob.delete("/api/suspect")):
            assert answer.status_code == 403
            assert "Ann marked this already, and only Ann may change or undo it" in answer.json()["error"]
        np.testing.assert_array_equal(masks(tmp_path, data)[0], before)


@pytest.mark.parametrize("box", [[1, 2, 3], [0, 0, "a", 1], [90, 90, 2, 2], [0, 0, 1e9, 1]])
def test_no_rectangle_is_refused_and_nothing_kept(box, address, tmp_path, data):
    with signed_in(address) as ann:
        assert ann.put("/api/suspect", json={"box": box}).status_code == 400
        assert ann.get("/api/suspect").json()["marked"] is None
    assert httpx.get(f"{address}/api/suspect").status_code == 401  # who has said no name


def test_the_images_that_show_it_can_be_looked_at_one_by_one(address, data):
    with signed_in(address) as ann:
        assert "/static/suspect.js" in ann.get("/").text
        assert "/static/app.js" in ann.get("/images").text
        assert ann.get("/api/queue").json()["progress"]["images"] == 8
        assert ann.get("/api/suspect/pictures/0.png").headers["content-type"] == "image/png"
        assert ann.get("/api/suspect/pictures/3.png").status_code == 404


@pytest.mark.parametrize(
    ("number", "message"),
    [
        ("2", "is a property of whole images, which have no region to mark for it: train on images"),
        ("9", "holds no suspect 9: they are numbered from 1 to 2"),
        ("one", "a suspect's number, as suspects/3; found"),
    ],
)
def test_what_cannot_be_marked_is_refused_before_anything_is_made(number, message, folder, data, network, pellucid):
    with pytest.raises(InputError, match=message):
        OpenSuspect.open(folder / number, network, NETWORK, data)
    run = save_model(network, folder.parent / "run")
    options = [f"--data-option={key}={value}" for key, value in OPTIONS.items()]
    store = folder.parent / "none.db"
    code, *_ = pellucid(
        "annotate", "serve", run, "--data", "phantom", *options, "--suspect", folder / number, "--store", store,
        "--port", "0", "--no-open", "--device", "cpu",
    )  # fmt: skip
    assert message in str(code)
    assert not store.exists()


def test_the_command_opens_the_page_of_the_suspect_on_the_images_that_show_it(
    folder, network, tmp_path, pellucid, monkeypatch
):
    run = save_model(network, tmp_path / "run")
    discovery = Discovery.load(folder)
    key = results_key_of(load_model(run))
    replace(discovery, about={**discovery.about, "network": key}).save(folder)
    names, make_server = [], serving.make_server

    def asked_once(app):
        """A server that one annotator asks for the suspect, and that ends then."""
        monkeypatch.setattr(serving, "make_server", make_server)

        def run(sockets):
            sockets[0].close()
            with served(app) as address, signed_in(address) as ann:
                names.append(ann.get("/api/suspect").json()["name"])

        return SimpleNamespace(run=run)

    monkeypatch.setattr(serving, "make_server", asked_once)
    options = [f"--data-option={key}={value}" for key, value in OPTIONS.items()]
    code, output, _ = pellucid(
        "annotate", "serve", run, "--data", "phantom", *options, "--suspect", folder / "1", "--device", "cpu",
        "--store", tmp_path / "new.db", "--port", "0", "--no-open", "--order", "random",
    )  # fmt: skip
    assert code in (0, None)
    assert "suspect 1 (upper right corner) is shown by 8 of 24 images of phantom/train; its mark goes to" in output
    assert "8 images of phantom/train; annotations go to" in output
    assert names == ["upper right corner"]


@pytest.mark.browser
def test_a_rectangle_is_drawn_accepted_and_undone_on_the_page(address, folder, data, tmp_path, browser):
    page = browser.new_page(viewport={"width": 1000, "height": 800})
    failures = []
    page.on("console", lambda message: message.type == "error" and failures.append(message.text))
    page.on("pageerror", lambda error: failures.append(str(error)))
    page.goto(address)
    page.get_by_label("Name", exact=True).fill("Ann")
    page.get_by_role("button", name="Start").click()
    page.get_by_text("Not marked yet.").wait_for()
    stage = page.locator("#picture").bounding_box()
    scale = min(stage["width"], stage["height"]) / SIDE
    left, top = (stage[k] + (stage[s] - SIDE * scale) / 2 for k, s in (("x", "width"), ("y", "height")))
    page.mouse.move(left + 2.5 * scale, top + 3.5 * scale)
    page.mouse.down()
    page.mouse.move(left + 6.5 * scale, top + 6.5 * scale, steps=3)
    page.mouse.up()
    assert [page.locator(f"#box-{key}").input_value() for key in "xywh"] == ["2", "3", "5", "4"]
    assert violations(page) == []
    page.get_by_role("button", name="Mark on 8 images").click()
    page.get_by_text("Marked on 8 images by Ann.").wait_for()
    assert masks(tmp_path, data)[0].sum() == 8 * 20
    page.reload()
    page.get_by_text("Marked on 8 images by Ann.").wait_for()
    assert page.locator("#box-w").input_value() == "5"
    page.get_by_role("button", name="Undo").click()
    page.get_by_text("Not marked yet.").wait_for()
    assert not masks(tmp_path, data)[0].any()
    page.set_viewport_size({"width": 420, "height": 800})
    assert page.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [text for text in failures if "401" not in text] == []
    page.close()

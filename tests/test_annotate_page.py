"""The annotation page in a real browser, with a real server: as people use it."""

from __future__ import annotations

import re

import numpy as np
import pytest
from PIL import Image

from helpers.annotate import SIZE
from helpers.annotate_page import (
    CONTRAST,
    CONTROLS,
    HALF,
    OUTSIDE,
    RECTANGLES,
    SCREENS,
    corners,
    drag,
    next_image,
    pixels,
    place,
    ready,
    rectangle,
    redrawn,
    saved,
    until,
)
from helpers.axe import violations

pytestmark = pytest.mark.browser


def test_on_a_phone_the_explanation_is_at_hand_and_axe_finds_nothing(visit):
    page = visit("Phone", viewport={"width": 390, "height": 844})
    for name in ("#methods", "#rho", "#blend"):
        if not page.locator(name).is_visible():  # the size, but for adversarial explanations
            continue
        box = page.locator(name).bounding_box()
        assert box["y"] >= page.locator("#panel").bounding_box()["y"]  # not scrolled out of sight
        assert box["y"] + box["height"] < page.locator("#finish").bounding_box()["y"]  # not below the fold
    page.locator("button.class").last.click()  # the panel scrolls to it
    page.locator("#explain").click()
    until(
        page,
        "document.getElementById('methods').getBoundingClientRect().top >= "
        "document.getElementById('panel').getBoundingClientRect().top",
    )
    assert violations(page) == []  # one and the same page in the light and in the dark


def test_ten_images_in_a_row_with_the_mouse(server, visit):
    page = visit("Mouse")
    for i, (x0, y0, x1, y1) in enumerate(RECTANGLES):
        page.locator("#explain").click()
        page.locator("[data-kind=irrelevant]" if i % 2 else "[data-kind=relevant]").click()
        rectangle(page, x0, y0, x1, y1)
        page.locator("[data-answer=no]" if i % 3 else "[data-answer=yes]").click()
        page.locator("#skip" if i == 9 else "#done").click()
        next_image(page)
    saved(page)
    until(page, "document.getElementById('done-count').textContent.includes('9 by you')")
    images = server.visitor("Mouse").finished()
    assert [image["state"] for image in images] == ["done"] * 9 + ["skipped"]
    for i, (image, drawn) in enumerate(zip(images, RECTANGLES, strict=True)):
        (mark,) = image["marks"]
        likeliest = max(image["classes"], key=lambda c: c["probability"])
        assert mark["class"] == likeliest["class"]
        assert mark["kind"] == ("irrelevant" if i % 2 else "relevant")
        assert corners(mark) == pytest.approx(drawn, abs=HALF)
        assert likeliest["verdict"] == ("no" if i % 3 else "yes")


def test_ten_images_in_a_row_with_the_keyboard_alone_and_a_reload_in_the_middle(server, visit):
    page = visit("Keyboard")
    press = page.keyboard.press
    step = 24 / (min(*(page.locator("#stage").bounding_box()[k] for k in ("width", "height"))))
    for i in range(10):
        for key in ("e", "x", *["ArrowLeft"] * (i % 4), "ArrowUp", "Space", *["ArrowRight"] * 3, "ArrowDown", "Space"):
            press(key)
        if i == 5:
            saved(page)
            page.reload()
            ready(page)
            page.wait_for_selector("#regions .swatch")
        press("c")
        press("ynu"[i % 3])
        press("m")
        page.keyboard.type(f"note {i}, keys in it: e x Enter")
        press("Escape")
        press("Shift+Enter" if i == 3 else "Enter")
        next_image(page)
    saved(page)
    images = server.visitor("Keyboard").finished()
    assert [image["state"] for image in images] == ["skipped" if i == 3 else "done" for i in range(10)]
    for i, image in enumerate(images):
        (mark,) = image["marks"]
        left = 0.5 - (i % 4) * step
        assert corners(mark) == pytest.approx((left, 0.5 - step, left + 3 * step, 0.5), abs=1e-6)
        assert mark["kind"] == ("relevant" if i % 2 else "irrelevant")
        following = (next(c["index"] for c in image["classes"] if c["class"] == mark["class"]) + 1) % 8
        assert image["classes"][following]["verdict"] == ("yes", "no", "unsure")[i % 3]
        assert image["note"] == f"note {i}, keys in it: e x Enter"


def test_every_kind_of_region_with_undo_and_redo(server, visit):
    page = visit("Regions")
    visitor = server.visitor("Regions")
    rectangle(page, 0.1, 0.1, 0.3, 0.2)
    page.keyboard.press("o")
    drag(page, [(0.5, 0.5), (0.8, 0.5), (0.8, 0.8), (0.5, 0.8)])
    page.keyboard.press("x")
    page.keyboard.press("b")
    drag(page, [(0.2, 0.6), (0.3, 0.9)])
    saved(page)
    marks = visitor.queue()[0]["marks"]
    assert [mark["shape"]["type"] for mark in marks] == ["rectangle", "polygon", "brush"]
    assert [mark["kind"] for mark in marks] == ["relevant", "relevant", "irrelevant"]
    corner = np.array([[0.5, 0.5], [0.8, 0.5], [0.8, 0.8], [0.5, 0.8]])
    outline = np.array(marks[1]["shape"]["points"])
    assert all(np.abs(outline - c).max(1).min() < HALF for c in corner)
    np.testing.assert_allclose(np.array(marks[2]["shape"]["points"])[[0, -1]], [[0.2, 0.6], [0.3, 0.9]], atol=HALF)
    redrawn(page)
    assert page.locator("#regions .swatch").count() == 3
    for _ in range(2):
        page.keyboard.press("z")
    page.locator("#redo").click()
    saved(page)
    after = visitor.queue()[0]["marks"]
    assert [mark["shape"] for mark in after] == [mark["shape"] for mark in marks[:2]]
    assert after[0]["id"] == marks[0]["id"]
    page.get_by_role("button", name="Remove relevant rectangle").click()
    saved(page)
    assert [m["shape"]["type"] for m in visitor.queue()[0]["marks"]] == ["polygon"]
    page.keyboard.press("Control+z")
    page.keyboard.press("r")
    page.mouse.click(*place(page, 0.5, 0.5))  # a click is no region
    saved(page)
    assert sorted(m["shape"]["type"] for m in visitor.queue()[0]["marks"]) == ["polygon", "rectangle"]


def test_what_is_drawn_zoomed_in_lies_where_it_was_drawn(server, visit):
    page = visit("Zoom", device_scale_factor=1.5)
    x, y = place(page, 0.3, 0.6)
    page.mouse.move(x, y)
    page.evaluate("() => { window.turned = 0; addEventListener('wheel', e => { window.turned -= e.deltaY; }); }")
    for _ in range(4):
        page.mouse.wheel(0, -200)
    until(page, "window.turned * devicePixelRatio > 799")  # all four turns, however the browser joined them
    redrawn(page)
    box = page.locator("#stage").bounding_box()
    scale, left, top = map(float, page.locator("#stage").get_attribute("data-view").split())
    page.mouse.down()
    page.mouse.move(x + 60, y + 90, steps=2)
    page.mouse.up()
    saved(page)
    (mark,) = server.visitor("Zoom").queue()[0]["marks"]
    start = np.array([x - box["x"] - left, y - box["y"] - top]) / scale / SIZE
    np.testing.assert_allclose(corners(mark), [*start, *(start + np.array([60, 90]) / scale / SIZE)], atol=0.1 * HALF)
    np.testing.assert_allclose(start, [0.3, 0.6], atol=0.02)  # the point under the mouse stays there


def test_a_second_tab_shows_the_same_and_follows(server, visit):
    first = visit("Tabs")
    second = first.context.new_page()
    second.goto(server.address)
    ready(second)
    rectangle(first, 0.2, 0.2, 0.5, 0.5)
    second.wait_for_selector("#regions .swatch")
    rectangle(second, 0.6, 0.6, 0.8, 0.9)
    until(first, "document.querySelectorAll('#regions .swatch').length === 2")
    first.keyboard.press("Enter")
    until(second, "document.querySelectorAll('#regions .swatch').length === 0")
    saved(first)
    (image,) = server.visitor("Tabs").finished()
    assert len(image["marks"]) == 2
    second.keyboard.press("p")
    until(second, "document.querySelectorAll('#regions .swatch').length === 2")


def test_explanations_lie_over_the_image_and_can_be_blended(visit):
    page = visit("Explain")
    page.wait_for_load_state("networkidle")
    plain = pixels(page)
    seen = [plain]
    for key, words in (("2", "CAM"), ("3", "Grad-CAM"), ("4", "Saliency"), ("1", "Adversarial")):
        page.keyboard.press(key)
        until(page, f"document.getElementById('stage-explained').textContent.startsWith('{words}: ')")
        until(page, "!['', 'being made …'].includes(document.getElementById('explained').textContent)")
        seen.append(pixels(page))
    assert all(np.abs(shown - plain).mean() > 0.5 for shown in seen[1:])
    assert re.fullmatch(r"moved towards \w+: .+ %? ?→ .+, RMS 0\.050", page.locator("#explained").inner_text())
    for _ in range(2):
        page.keyboard.press(".")
    until(page, "document.getElementById('explained').textContent.endsWith('RMS 0.200')")
    assert np.abs(pixels(page) - seen[4]).max() > 5
    for _ in range(10):
        page.keyboard.press("j")
    np.testing.assert_array_equal(pixels(page), plain)  # blended away
    page.keyboard.press("k")
    page.keyboard.press("e")
    np.testing.assert_array_equal(pixels(page), plain)
    drag(page, [(0.5, 0.5), (0.6, 0.4)], button="right")
    assert np.abs(pixels(page) - plain).mean() > 3
    page.keyboard.press("v")
    np.testing.assert_array_equal(pixels(page), plain)
    page.keyboard.press("2")
    page.keyboard.press("Enter")
    next_image(page)
    assert page.locator("#explain").get_attribute("aria-pressed") == "false"  # every image is looked at first


def test_two_fingers_zoom_and_draw_nothing(server, visit):
    page = visit("Touch", has_touch=True)
    devtools = page.context.new_cdp_session(page)
    x, y = place(page, 0.5, 0.5)

    def touch(kind, *apart):
        points = [{"x": x + sign * d, "y": y, "id": i} for d in apart for i, sign in enumerate((-1, 1))]
        devtools.send("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

    touch("touchStart", 40)
    for apart in (50, 60, 70, 80):
        touch("touchMove", apart)
    touch("touchEnd")
    until(page, "document.getElementById('stage-zoom').textContent === '2.0 ×'")
    redrawn(page)
    assert page.locator("#regions .swatch").count() == 0
    page.locator("#zoom-fit").tap()
    one = [{"x": place(page, 0.2, 0.2)[0], "y": place(page, 0.2, 0.2)[1], "id": 0}]
    other = [{"x": place(page, 0.4, 0.5)[0], "y": place(page, 0.4, 0.5)[1], "id": 0}]
    devtools.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": one})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchMove", "touchPoints": other})
    devtools.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_selector("#regions .swatch")
    saved(page)
    (mark,) = server.visitor("Touch").queue()[0]["marks"]
    assert corners(mark) == pytest.approx((0.2, 0.2, 0.4, 0.5), abs=HALF)


def test_people_are_told_apart_and_hostile_text_stays_text(server, visit):
    hostile = "<img src=x onerror=document.title='taken'>"
    page = visit(hostile)
    other = server.visitor("Somebody")
    images = {image["id"] for image in other.queue()}
    page.keyboard.press("m")
    page.keyboard.type("<script>document.title='taken'</script>")
    page.keyboard.press("Escape")
    rectangle(page, 0.2, 0.2, 0.5, 0.5)
    page.keyboard.press("Enter")
    saved(page)
    (image,) = server.visitor(hostile).finished()
    assert image["note"] == "<script>document.title='taken'</script>"
    if image["id"] in images:
        assert other.ask("GET", f"/api/images/{image['id']}")["marks"] == []
    page.keyboard.press("l")
    row = page.locator("#people-rows tr").filter(has_text=hostile)
    row.wait_for()
    assert row.locator("td").all_inner_texts() == ["1", "0", "1"]
    page.get_by_role("button", name="1: done, regions: 1").click()
    page.wait_for_selector("#regions .swatch")
    redrawn(page)
    assert page.locator("#note").input_value() == image["note"]
    assert page.title() == "Annotate phantom"


@pytest.mark.parametrize("screen", SCREENS)
def test_it_fits_the_screen_is_readable_and_every_control_has_a_name(visit, screen):
    page = visit(f"On {screen}", **SCREENS[screen])
    for key in "1bnx":
        page.keyboard.press(key)
    drag(page, [(0.2, 0.2), (0.5, 0.5)])
    saved(page)
    devtools = page.context.new_cdp_session(page)
    for dialog in (None, "help", "people"):
        if dialog:
            page.keyboard.press({"help": "?", "people": "l"}[dialog])
            page.wait_for_selector(f"#{dialog}[open]")
        assert page.evaluate("[document.documentElement.scrollWidth <= innerWidth, scrollY]") == [True, 0]
        assert page.evaluate(OUTSIDE) == []
        texts = page.evaluate(CONTRAST)
        assert len(texts) > 30
        assert [text for text in texts if text[0] < 4.5] == []
        assert [text for text in texts if text[1] < 11] == []
        nodes = devtools.send("Accessibility.getFullAXTree")["nodes"]
        controls = [n for n in nodes if n.get("role", {}).get("value") in CONTROLS and not n["ignored"]]
        assert len(controls) > 1
        assert [n for n in controls if not n["name"]["value"].strip()] == []
        page.keyboard.press("Escape")
    if screen == "tablet":
        boxes = page.locator("button:visible, .check:visible, input[type=range]:visible").evaluate_all(
            "all => all.map(e => [e.getBoundingClientRect(), e.id || e.textContent])"
        )
        assert len(boxes) > 30
        assert [name for box, name in boxes if box["height"] < 43.9 or box["width"] < 43.9] == []


def test_it_prints_the_image_in_its_shape_with_regions_and_answers_dark_on_white(visit, tmp_path):
    page = visit("Printing")
    page.locator("button.class").nth(1).click()
    page.locator("[data-answer=yes]").click()
    rectangle(page, 0.2, 0.2, 0.5, 0.5)
    saved(page)
    name, chance = (page.locator(f".class[aria-pressed=true] .{part}").inner_text() for part in ("name", "chance"))
    page.set_viewport_size({"width": 690, "height": 980})  # between the margins of A4
    page.emulate_media(media="print")
    redrawn(page)
    box = page.locator("#stage").bounding_box()
    assert box["width"] == pytest.approx(box["height"], rel=0.01)  # as the image is
    assert box["width"] > 500
    buttons = page.locator("button:visible").evaluate_all("all => all.map(e => e.id || e.className)")
    assert set(buttons) == {"people-button", "class"}  # who, and the answers
    assert page.locator("input:visible").count() == 0
    words = page.locator(".class[aria-pressed=true]").evaluate("e => getComputedStyle(e, '::after').content")
    label = page.locator(".class[aria-pressed=true]").get_attribute("aria-label")
    assert words in ("attr(aria-label)", f'"{label}"')
    assert label.startswith(f"{name}, network {chance}, label ")
    assert label.endswith(", your answer yes, regions: 1")
    assert [text for text in page.evaluate(CONTRAST) if text[0] < 7] == []
    page.screenshot(path=tmp_path / "printed.png", clip=box)
    with Image.open(tmp_path / "printed.png") as picture:
        drawn = np.asarray(picture.convert("RGB")).astype(int)
    blue = np.argwhere(drawn[..., 2] - drawn[..., 0] > 100) / drawn.shape[0]
    np.testing.assert_allclose([blue.min(0), blue.max(0)], [[0.2, 0.2], [0.5, 0.5]], atol=0.03)
    page.emulate_media(media="screen")

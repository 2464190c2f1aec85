"""The annotation page where something comes between: another name, other people, a slow answer, many classes."""

from __future__ import annotations

import re
import time

import pytest

from annotate_example import Server, make_table
from annotate_page_example import come, ready, rectangle, redrawn, saved, sign_in, until

pytestmark = pytest.mark.browser
WIDE = {"width": 1000, "height": 700}
ONE_IMAGE = re.compile(r"/api/images/[0-9a-f]+$")
CHOSEN = """() => {
  const rows = [...document.querySelectorAll('#classes .class[aria-pressed=true]')];
  if (rows.length !== 1) return `${rows.length} rows are highlighted`;
  const row = rows[0].parentElement.getBoundingClientRect();
  const panel = document.getElementById('panel').getBoundingClientRect();
  if (row.top < panel.top - 1 || row.bottom > panel.bottom + 1) return 'the row is out of sight';
  return document.querySelectorAll('#classes .answers button').length === 3 ? rows[0].title : 'no answers';
}"""


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    started = Server(tmp_path_factory.mktemp("annotate"), "--per-image", "20", "--order", "random").start()
    yield started
    started.kill()


@pytest.fixture
def context(browser):
    opened = browser.new_context(viewport=WIDE)
    yield opened
    opened.close()


def test_what_is_drawn_on_a_page_of_one_name_is_never_sent_under_another(server, context):
    page = come(context, server, "First")
    page.wait_for_load_state("networkidle")
    session = f"{server.address}/api/session"
    assert page.request.post(session, data={"annotator": "Second"}).ok  # shares the page's cookies, tells it nothing
    rectangle(page, 0.2, 0.2, 0.5, 0.5)
    until(page, "document.getElementById('who')?.textContent === 'Second'")
    ready(page)
    saved(page)
    assert page.locator("#regions .swatch").count() == 0
    assert page.request.post(session, data={"annotator": "First"}).ok
    page.reload()
    page.wait_for_selector("#regions .swatch")
    saved(page)
    assert len(server.visitor("First").queue()[0]["marks"]) == 1
    assert [image["marks"] for image in server.visitor("Second").queue()] == [[]] * 4


def test_strokes_drawn_offline_are_kept_though_others_got_the_images_meanwhile(tmp_path, context):
    server = Server(tmp_path, "--hold", "0.1", "--limit", "3").start()
    try:
        page = come(context, server, "Ann")
        page.wait_for_load_state("networkidle")
        page.route("**/api/**", lambda route: route.abort())
        rectangle(page, 0.1, 0.2, 0.4, 0.5)
        page.keyboard.press("Enter")
        rectangle(page, 0.3, 0.2, 0.4, 0.5)
        saved(page, "offline: 2 strokes, 1 step kept")
        bob = server.visitor("Bob")
        late = time.monotonic() + 60
        while len(bob.queue()) < 3:  # images are held for six seconds
            assert time.monotonic() < late
            time.sleep(0.2)
        page.unroute("**/api/**")
        saved(page)
        counts = {person["name"]: person for person in bob.ask("GET", "/api/progress")["annotators"]}
        assert counts["Ann"] == {"name": "Ann", "done": 1, "skipped": 0, "marks": 2}
    finally:
        server.kill()


def test_a_region_begun_while_another_image_is_fetched_is_kept(server, context):
    page = come(context, server, "Quick")
    page.keyboard.press("Enter")
    saved(page)
    until(page, "!document.getElementById('back').disabled")
    held = []

    def hold(route):
        held.append(route)

    page.route(ONE_IMAGE, hold)
    page.keyboard.press("p")
    rectangle(page, 0.1, 0.1, 0.3, 0.3)  # the image that is shown is still this one
    box = page.locator("#stage").bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2 + 60, box["y"] + box["height"] / 2 + 60, steps=3)
    late = time.monotonic() + 20
    while not held:
        assert time.monotonic() < late
        page.wait_for_timeout(20)
    held[0].continue_()
    until(page, "document.getElementById('announcement').textContent.startsWith('still on this image')")
    page.mouse.up()
    until(page, "document.querySelectorAll('#regions .swatch').length === 2")
    saved(page)
    assert len(server.visitor("Quick").queue()[0]["marks"]) == 2
    page.unroute(ONE_IMAGE)
    page.keyboard.press("p")
    until(page, "document.querySelectorAll('#regions .swatch').length === 0")


def test_the_first_image_does_not_wait_for_the_list_of_those_before(server, context):
    page = come(context, server, "Early")
    page.keyboard.press("Enter")
    saved(page)
    page.route("**/api/images", lambda route: None)
    page.reload()
    ready(page)
    rectangle(page, 0.2, 0.2, 0.5, 0.5)
    page.wait_for_selector("#regions .swatch")
    page.keyboard.press("Enter")  # closed before the list has come, it is in it all the same
    until(page, "document.querySelectorAll('#regions .swatch').length === 0")
    page.unroute("**/api/images")  # which lets it go
    saved(page)
    until(page, "!document.getElementById('back').disabled")
    page.keyboard.press("p")
    page.wait_for_selector("#regions .swatch")
    page.keyboard.press("p")
    until(page, "document.querySelectorAll('#regions .swatch').length === 0")


def test_of_many_classes_the_chosen_one_is_always_in_sight(tmp_path, context):
    server = Server(tmp_path, table=make_table(tmp_path, 30)).start()
    try:
        page = come(context, server, "Ann")
        redrawn(page)
        seen = [page.evaluate(CHOSEN)]
        listed = page.locator("#classes .class").count()
        assert 10 <= listed <= 11  # the most probable, and what the label says
        for _ in range(listed):
            page.keyboard.press("c")
            redrawn(page)
            seen.append(page.evaluate(CHOSEN))
        assert seen[-1] == seen[0]
        assert len(set(seen)) == listed
        assert all(re.fullmatch(r"class \d\d", name) for name in seen)
        page.locator("#all-classes").click()
        page.keyboard.press("Shift+C")
        redrawn(page)
        before = f"class {(int(seen[0][-2:]) - 1) % 30:02d}"
        assert page.evaluate(CHOSEN) == before
        page.locator("#all-classes").click()  # fewer: it stays where it is
        redrawn(page)
        assert page.evaluate(CHOSEN) == before
        page.keyboard.press("Enter")
        until(page, "document.getElementById('done-count').textContent.includes('1 by you')")
        redrawn(page)
        assert page.evaluate(CHOSEN).startswith("class ")
    finally:
        server.kill()


def test_the_address_that_lets_in_once_may_be_clicked_on_another_site(tmp_path, context):
    server = Server(tmp_path, "--token", "a token of this server").start()
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        other = server.address.replace("127.0.0.1", "localhost")  # another site for a browser
        page.route(
            f"{other}/**", lambda route: route.fulfill(body=f'<a href="{server.told}">in</a>', content_type="text/html")
        )
        page.goto(f"{other}/mail")
        page.get_by_role("link", name="in").click()
        page.wait_for_selector("#signin[open]")  # which asks for a name alone
        assert page.get_by_label("Token").count() == 0
        sign_in(page, "Ann")
        ready(page)
    finally:
        server.kill()


def test_digits_and_signs_need_shift_on_some_keyboards(server, context):
    page = come(context, server, "Azerty")
    for digit, name in (("2", "cam"), ("3", "grad-cam")):
        page.evaluate(
            "key => document.getElementById('stage').dispatchEvent("
            "new KeyboardEvent('keydown', {key, shiftKey: true, bubbles: true}))",
            digit,
        )
        until(page, f"document.querySelector('#methods [data-method={name}]').getAttribute('aria-pressed') === 'true'")

"""The annotation page where something comes between: a slow, dead or refusing server, another name, other people."""

from __future__ import annotations

import re
import time

import pytest

from helpers.annotate import Server, make_table, token_file
from helpers.annotate_page import (
    HALF,
    RECTANGLES,
    WIDE,
    come,
    corners,
    next_image,
    ready,
    rectangle,
    redrawn,
    saved,
    sign_in,
    until,
)
from pellucid.annotator.invitations import make_links

pytestmark = pytest.mark.browser
ONE_IMAGE = re.compile(r"/api/images/[0-9a-f]+$")
CHOSEN = """() => {
  const rows = [...document.querySelectorAll('#classes .class[aria-pressed=true]')];
  if (rows.length !== 1) return `${rows.length} rows are highlighted`;
  const row = rows[0].parentElement.getBoundingClientRect();
  const panel = document.getElementById('panel').getBoundingClientRect();
  if (row.top < panel.top - 1 || row.bottom > panel.bottom + 1) return 'the row is out of sight';
  return document.querySelectorAll('#classes .answers button').length === 3 ? rows[0].title : 'no answers';
}"""


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


@pytest.fixture(scope="module")
def guarded(tmp_path_factory):
    """A server that asks for a token."""
    folder = tmp_path_factory.mktemp("guarded")
    started = Server(folder, "--token-file", token_file(folder, "a token of this server")).start()
    yield started
    started.kill()


def test_the_address_that_lets_in_once_may_be_clicked_on_another_site(guarded, context):
    page = context.new_page()
    page.set_default_timeout(20_000)
    other = guarded.address.replace("127.0.0.1", "localhost")  # another site for a browser
    page.route(
        f"{other}/**", lambda route: route.fulfill(body=f'<a href="{guarded.told}">in</a>', content_type="text/html")
    )
    page.goto(f"{other}/mail")
    page.get_by_role("link", name="in").click()
    page.wait_for_selector("#signin[open]")  # which asks for a name alone
    assert page.get_by_label("Token").count() == 0
    sign_in(page, "Ann")
    ready(page)


def test_an_invitation_opens_the_page_in_one_browser(guarded, browser):
    mine, another = browser.new_context(viewport=WIDE), browser.new_context(viewport=WIDE)
    try:
        ((_, link),) = make_links(guarded.folder / "annotations.db", ["Dr Ayşe Kaya"], guarded.address)
        seen, page = another.new_page(), mine.new_page()
        for each in (seen, page):
            each.set_default_timeout(20_000)
            each.goto(link)
            each.get_by_text("Dr Ayşe Kaya").wait_for()
        page.get_by_role("button", name="Start").click()
        ready(page)
        assert page.locator("#who").inner_text() == "Dr Ayşe Kaya"
        seen.get_by_role("button", name="Start").click()
        seen.get_by_role("alert").get_by_text("accepted in another browser").wait_for()
        seen.reload()
        seen.get_by_text("This invitation was accepted in another browser").wait_for()
        assert seen.get_by_role("button").count() == 0
    finally:
        mine.close()
        another.close()


def test_digits_and_signs_need_shift_on_some_keyboards(server, context):
    page = come(context, server, "Azerty")
    for digit, name in (("2", "cam"), ("3", "grad-cam")):
        page.evaluate(
            "key => document.getElementById('stage').dispatchEvent("
            "new KeyboardEvent('keydown', {key, shiftKey: true, bubbles: true}))",
            digit,
        )
        until(page, f"document.querySelector('#methods [data-method={name}]').getAttribute('aria-pressed') === 'true'")


def test_a_slow_network_keeps_nobody_waiting(server, visit):
    page = visit("Slow")
    page.wait_for_load_state("networkidle")  # the next images are there

    held = []

    def hold(route):
        held.append(route)

    page.route("**/api/images/*/marks/*", hold)
    for x0, y0, x1, y1 in RECTANGLES[:3]:
        rectangle(page, x0, y0, x1, y1)
        page.wait_for_selector("#regions .swatch")
        assert page.locator("#saves-text").inner_text() == "saving"  # it is seen before it has arrived
        page.keyboard.press("Enter")
        next_image(page)
    assert len(held) == 1  # one after the other, in order
    page.unroute("**/api/images/*/marks/*")  # which lets it go
    saved(page)
    images = server.visitor("Slow").finished()
    assert [len(image["marks"]) for image in images] == [1, 1, 1]
    for image, drawn in zip(images, RECTANGLES, strict=False):
        assert corners(image["marks"][0]) == pytest.approx(drawn, abs=HALF)


def test_what_the_server_refuses_is_told_and_kept(server, visit):
    page = visit("Refused")
    refuse = {"status": 403, "json": {"error": "<b>not</b> yours"}}
    page.route("**/api/images/*/marks/*", lambda route: route.fulfill(**refuse))
    rectangle(page, 0.2, 0.2, 0.5, 0.5)
    saved(page, "refused: 1 stroke")
    page.unroute("**/api/images/*/marks/*")
    page.reload()
    ready(page)
    saved(page, "refused: 1 stroke")
    page.get_by_role("button", name="Why?").click()
    assert page.locator("#refused-list").inner_text() == "stroke: <b>not</b> yours"
    page.get_by_role("button", name="Send again").click()
    saved(page)
    assert len(server.visitor("Refused").queue()[0]["marks"]) == 1


def test_a_token_opens_the_page_and_a_new_one_asks_again_without_a_loss(tmp_path, browser):
    first, second = "the first token of this server", "another token for the same server"
    server = Server(tmp_path, "--token-file", token_file(tmp_path, first)).start()
    context = browser.new_context(viewport=WIDE)
    try:
        page = context.new_page()
        page.set_default_timeout(20_000)
        page.goto(server.address)

        def sign_in(token):
            page.get_by_label("Name", exact=True).fill("Ann")
            page.get_by_label("Token").fill(token)
            page.get_by_role("button", name="Start").click()

        sign_in("certainly not the token")
        page.get_by_role("alert").get_by_text("this is not the server's token").wait_for()
        assert page.locator("#stage").count() == 0
        sign_in(first)
        ready(page)
        assert first not in page.content() + page.url + page.evaluate("document.cookie + JSON.stringify(localStorage)")
        rectangle(page, *RECTANGLES[0])
        saved(page)
        server.kill()
        token_file(tmp_path, second)
        server.start()
        rectangle(page, *RECTANGLES[1])
        page.get_by_label("Token").wait_for()  # what was drawn waits in the browser until it may be sent
        assert page.get_by_label("Name", exact=True).input_value() == "Ann"
        until(page, "document.activeElement.id === 'signin-token'")
        sign_in(second)
        ready(page)
        saved(page)
        page.wait_for_selector("#regions .swatch")
        until(page, "document.querySelectorAll('#regions .swatch').length === 2")
        context.clear_cookies()
        other = context.new_page()
        other.goto(server.address)
        other.get_by_label("Name", exact=True).fill("Bob")
        other.get_by_label("Token").fill(second)
        other.get_by_role("button", name="Start").click()
        until(page, "document.getElementById('who')?.textContent === 'Bob'")  # no page of Ann's is left open
    finally:
        context.close()
        server.kill()


def test_strokes_drawn_while_the_server_is_dead_arrive_after_its_restart(server, visit):
    page = visit("Killed")
    page.wait_for_load_state("networkidle")
    rectangle(page, *RECTANGLES[0])
    saved(page)
    server.kill()
    rectangle(page, 0.6, 0.6, 0.9, 0.9)
    page.keyboard.press("Enter")
    rectangle(page, *RECTANGLES[1])
    saved(page, "offline: 2 strokes, 1 step kept")
    again = page.context.new_page()  # the storage outlives the page
    page.close()
    server.start()
    again.goto(server.address)
    ready(again)
    saved(again)
    again.wait_for_selector("#regions .swatch")
    assert again.locator("#regions .swatch").count() == 1
    visitor = server.visitor("Killed")
    (image,) = visitor.finished()
    assert [corners(m) for m in image["marks"]] == [
        pytest.approx(RECTANGLES[0], abs=HALF),
        pytest.approx((0.6, 0.6, 0.9, 0.9), abs=HALF),
    ]
    (mark,) = visitor.queue()[0]["marks"]
    assert corners(mark) == pytest.approx(RECTANGLES[1], abs=HALF)
    server.kill()
    rectangle(again, 0.1, 0.8, 0.3, 0.9)
    saved(again, "offline: 1 stroke kept")
    server.start()
    saved(again)  # without anybody doing anything
    assert len(visitor.queue()[0]["marks"]) == 2


@pytest.mark.parametrize(
    ("away", "said"),
    [(3, "Other people have the remaining images open. Any that they leave come back here"), (0, "All done. Nothing")],
)
def test_who_has_no_image_is_told_whether_others_hold_some(away, said, context, server):
    def nothing(route):
        answer = route.fetch()
        route.fulfill(response=answer, json=answer.json() | {"images": [], "away": away})

    page = context.new_page()
    page.route("**/api/queue*", nothing)
    page.goto(server.address)
    sign_in(page, f"Idle {away}")
    page.locator("#stage-told", has_text=said).wait_for()

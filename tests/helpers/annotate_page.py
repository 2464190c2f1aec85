"""What tests of the annotation page do with it, and what they look for on every screen."""

from __future__ import annotations

import numpy as np

from helpers.annotate import SIZE

WIDE = {"width": 1000, "height": 700}
RECTANGLES = [(0.1 + 0.02 * i, 0.2, 0.4 + 0.03 * i, 0.5 + 0.04 * i) for i in range(10)]
HALF = 0.5 / SIZE  # half a pixel of the image, as a fraction
EXPECTED = r"Failed to load resource: (net::ERR|the server responded)|Canvas2D: Multiple readback"  # made by the tests
SCREENS = {
    "desktop": {"viewport": {"width": 1440, "height": 900}},
    "tablet": {"viewport": {"width": 1024, "height": 768}, "has_touch": True},
    "small": {"viewport": {"width": 800, "height": 600}},
}
CONTROLS = {"button", "slider", "checkbox", "textbox", "application", "progressbar", "dialog"}
CONTRAST = """() => {
  const parse = (text) => { const n = text.match(/[\\d.]+/g).map(Number); return n.length < 4 ? [...n, 1] : n; };
  const over = (top, under) => under.map((u, i) => top[3] * top[i] + (1 - top[3]) * u);
  const linear = (v) => (v / 255 <= 0.04045 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * linear(r) + 0.7152 * linear(g) + 0.0722 * linear(b);
  const ground = (e) => { const own = parse(getComputedStyle(e).backgroundColor);
    return own[3] === 1 || !e.parentElement ? own.slice(0, 3) : over(own, ground(e.parentElement)); };
  const found = [];
  for (const e of document.querySelectorAll('body *')) {
    const words = [...e.childNodes].some(n => n.nodeType === 3 && n.data.trim());
    if (!words || !e.checkVisibility() || e.closest(':disabled, .hidden, script, noscript')) continue;
    const under = ground(e), a = light(over(parse(getComputedStyle(e).color), under)), b = light(under);
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    found.push([ratio, parseFloat(getComputedStyle(e).fontSize), e.textContent.trim().slice(0, 40)]);
  }
  return found;
}"""
OUTSIDE = """() => [...document.querySelectorAll('header *, #tools *, aside *, dialog[open], dialog[open] *')]
  .filter(e => e.checkVisibility() && !e.closest('.hidden')).filter(e => { const b = e.getBoundingClientRect();
    const spills = e.matches('button') && e.scrollWidth > e.clientWidth + 1;
    return b.width > 0 && (b.right > innerWidth + 1 || b.left < -1 || spills);
  }).map(e => e.outerHTML.slice(0, 90))"""


def come(context, server, name):
    """Open the page as somebody."""
    page = context.new_page()
    page.set_default_timeout(20_000)
    page.goto(server.address)
    sign_in(page, name)
    ready(page)
    return page


def sign_in(page, name):
    page.get_by_label("Name", exact=True).fill(name)
    page.get_by_role("button", name="Start").click()


def ready(page):
    """Wait for an image on the stage."""
    page.wait_for_selector("#stage[data-view]")


def redrawn(page):
    """Wait until the page shows what was done to it: it draws once a frame, after it answered a key or a click."""
    page.evaluate("() => new Promise(r => requestAnimationFrame(() => requestAnimationFrame(r)))")


def next_image(page):
    """Wait until what follows is drawn: at once where it was fetched ahead, which takes a busy server its time."""
    redrawn(page)
    ready(page)


def saved(page, text="saved"):
    page.wait_for_function("text => document.getElementById('saves-text').textContent === text", arg=text)


def until(page, expression):
    page.wait_for_function(f"() => {expression}")  # a bare expression would need eval, which the page's policy forbids


def place(page, x, y):
    """Where a point of the image, as fractions, is on the screen while all of the (square) image is shown."""
    box = page.locator("#stage").bounding_box()
    side = min(box["width"], box["height"])
    return box["x"] + (box["width"] - side) / 2 + x * side, box["y"] + (box["height"] - side) / 2 + y * side


def drag(page, points, button="left"):
    page.mouse.move(*place(page, *points[0]))
    page.mouse.down(button=button)
    for point in points[1:]:
        page.mouse.move(*place(page, *point), steps=3)
    page.mouse.up(button=button)


def rectangle(page, x0, y0, x1, y1):
    drag(page, [(x0, y0), (x1, y1)])


def corners(mark):
    s = mark["shape"]
    return s["x"], s["y"], s["x"] + s["width"], s["y"] + s["height"]


def pixels(page):
    """The stage as numbers."""
    redrawn(page)
    return np.asarray(
        page.evaluate(
            """() => { const c = document.getElementById('stage');
                 const d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data;
                 const out = []; for (let i = 0; i < d.length; i += 4 * 97) out.push(d[i], d[i + 1], d[i + 2]);
                 return out; }"""
        )
    )

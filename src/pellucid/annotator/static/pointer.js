/* Mouse, pen and fingers on the stage: one draws or pans, two fingers zoom, the right button changes the window. */

const PALM = 300; // milliseconds after which a second finger no longer turns a stroke into a pinch

/** @param stage an element; @param does {tool(), begin, move, end, cancel, drafting(), pan, zoom, window, hover}. Points
 *  are in CSS pixels of the stage. */
export function listen(stage, does) {
  const held = new Map(); // pointers on the stage: id → point
  let mode = null; // "draw" | "pan" | "window" | "pinch"
  let began = 0;
  let pen = false; // once there is a pen, fingers only move the image

  const at = (event) => {
    const box = stage.getBoundingClientRect();
    return { x: event.clientX - box.left, y: event.clientY - box.top };
  };
  const pair = () => {
    const [a, b] = [...held.values()];
    return { middle: { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 }, apart: Math.max(Math.hypot(a.x - b.x, a.y - b.y), 1) };
  };
  const modeOf = (event) => {
    if (event.button === 2) return "window";
    if (event.button === 1 || does.tool() === "move" || (pen && event.pointerType === "touch")) return "pan";
    return event.button === 0 ? "draw" : null;
  };

  stage.addEventListener("pointerdown", (event) => {
    pen ||= event.pointerType === "pen";
    if (held.size === 1 && event.pointerType === "touch" && mode !== "window") {
      if (mode === "draw" && performance.now() - began > PALM) return;
      if (mode === "draw") does.cancel();
      held.set(event.pointerId, at(event));
      mode = "pinch";
    } else if (held.size === 0) {
      mode = modeOf(event);
      if (mode === null) return;
      held.set(event.pointerId, at(event));
      began = performance.now();
      if (mode === "draw") does.begin(at(event));
    } else return;
    stage.setPointerCapture(event.pointerId);
    stage.focus({ preventScroll: true });
    event.preventDefault();
  });

  stage.addEventListener("pointermove", (event) => {
    const point = at(event);
    const before = held.get(event.pointerId);
    if (!before) {
      if (event.pointerType !== "touch") does.hover(point);
      return;
    }
    if (mode === "pinch" && held.size === 2) {
      const old = pair();
      held.set(event.pointerId, point);
      const now = pair();
      does.pan(now.middle.x - old.middle.x, now.middle.y - old.middle.y);
      does.zoom(now.middle, now.apart / old.apart);
      return;
    }
    held.set(event.pointerId, point);
    if (mode === "draw") {
      const all = event.getCoalescedEvents?.() ?? [];
      for (const each of all.length ? all : [event]) does.move(at(each));
      does.hover(point);
    } else if (mode === "pan" || mode === "pinch") does.pan(point.x - before.x, point.y - before.y);
    else if (mode === "window") does.window(point.x - before.x, point.y - before.y);
  });

  const release = (event) => {
    if (!held.delete(event.pointerId)) return;
    if (mode === "draw") does.end(); // also where the browser takes the pointer away: what was drawn is kept
    mode = held.size ? mode : null;
  };
  stage.addEventListener("pointerup", release);
  stage.addEventListener("pointercancel", release);
  stage.addEventListener("pointerleave", () => does.hover(null));
  stage.addEventListener("contextmenu", (event) => event.preventDefault());
  stage.addEventListener(
    "wheel",
    (event) => {
      event.preventDefault();
      const pixels = event.deltaY * (event.deltaMode === 1 ? 30 : 1) * (event.ctrlKey ? 4 : 1); // ctrl: a pinch
      does.zoom(at(event), Math.exp(-Math.min(Math.max(pixels, -400), 400) / 400));
    },
    { passive: false },
  );
}

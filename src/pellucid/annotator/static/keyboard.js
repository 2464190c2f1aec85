/* All keys: one table, which the help on the page shows too. */

import { find, make } from "./dom.js";

/* group, keys as shown, what they do, {key as the browser names it: [action, ...arguments]}; ^ is Shift, * Ctrl. Shift
 * counts with letters and named keys alone: which digits and signs need it is up to the keyboard. */
export const KEYS = [
  ["Each image", "Enter", "done, next image", { Enter: ["finish", "done"] }],
  ["Each image", "Shift+Enter", "skip this image", { "^Enter": ["finish", "skipped"] }],
  ["Each image", "P", "the image before; Shift+P: on again", { p: ["goBack", 1], "^p": ["goBack", -1] }],
  ["Each image", "Y / N / U", "the class is there: yes, no, unsure (again: take it back)",
    { y: ["answer", "yes"], n: ["answer", "no"], u: ["answer", "unsure"] }],
  ["Each image", "C", "next class; Shift+C: the one before", { c: ["stepClass", 1], "^c": ["stepClass", -1] }],
  ["Each image", "M", "write a note; Esc: back to the image", { m: ["writeNote"] }],
  ["Explanation", "E", "show it, hide it", { e: ["toggleExplanation"] }],
  ["Explanation", "1 – 4", "adversarial, CAM, Grad-CAM, saliency, as far as the network has them",
    { 1: ["chooseMethod", 0], 2: ["chooseMethod", 1], 3: ["chooseMethod", 2], 4: ["chooseMethod", 3] }],
  ["Explanation", "J / K", "blend less, more", { j: ["stepBlend", -1], k: ["stepBlend", 1] }],
  ["Explanation", ", / .", "size ρ smaller, larger", { ",": ["stepRho", -1], ".": ["stepRho", 1] }],
  ["Drawing", "R / O / B", "rectangle, outline, brush (B again: another size)",
    { r: ["chooseTool", "rectangle"], o: ["chooseTool", "polygon"], b: ["chooseTool", "brush"] }],
  ["Drawing", "X", "relevant or irrelevant", { x: ["switchKind"] }],
  ["Drawing", "Arrows", "move the cursor; with Shift in small steps", {
    ArrowLeft: ["moveCursor", -1, 0], ArrowRight: ["moveCursor", 1, 0],
    ArrowUp: ["moveCursor", 0, -1], ArrowDown: ["moveCursor", 0, 1],
    "^ArrowLeft": ["moveCursor", -0.1, 0], "^ArrowRight": ["moveCursor", 0.1, 0],
    "^ArrowUp": ["moveCursor", 0, -0.1], "^ArrowDown": ["moveCursor", 0, 0.1],
  }],
  ["Drawing", "Space", "begin a region at the cursor; again: end it", { " ": ["drawAtCursor"] }],
  ["Drawing", "Esc", "give up the region begun", { Escape: ["cancel"] }],
  ["Drawing", "Z", "undo; Shift+Z: redo (also with Ctrl)",
    { z: ["undo"], "^z": ["redo"], "*z": ["undo"], "*^z": ["redo"], "*y": ["redo"] }],
  ["View", "+ / − / 0", "zoom in, out, whole image",
    { "+": ["zoom", 1.25], "=": ["zoom", 1.25], "-": ["zoom", 0.8], 0: ["zoom", 0] }],
  ["View", "W A S D", "move the image", { w: ["pan", 0, 1], a: ["pan", 1, 0], s: ["pan", 0, -1], d: ["pan", -1, 0] }],
  ["View", "Q", "hand: drag the image", { q: ["chooseTool", "move"] }],
  ["View", "T / G", "brighter, darker", { t: ["window", -12, 0], g: ["window", 12, 0] }],
  ["View", "H / F", "contrast more, less", { h: ["window", 0, -16], f: ["window", 0, 16] }],
  ["View", "V", "brightness and contrast as they were", { v: ["window"] }],
  ["Page", "L", "people, progress, agreement", { l: ["openPeople"] }],
  ["Page", "?", "this help", { "?": ["openHelp"] }],
];

const PLAIN = /^\^?(Enter| |Escape|Arrow.*)$/; // keys that nobody types or speaks by mistake

/* A control that has the focus needs some keys itself. */
const NEEDED = [[/Enter/, "button, summary, a"], [/ /, "button, input, summary"], [/Arrow/, "input"]];

/** Listen for keys; `single()` tells whether keys without Ctrl are wanted. */
export function listen(actions, single) {
  const table = Object.assign({}, ...KEYS.map(([, , , keys]) => keys));
  document.addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.isComposing || event.altKey) return;
    if (document.querySelector("dialog[open]")) return;
    const target = event.target;
    if (target.matches("textarea, input:not([type=range], [type=checkbox])")) {
      if (event.key === "Escape") actions.leaveNote();
      return;
    }
    const name = nameOf(event);
    const action = table[name];
    if (!action || (!single() && !event.ctrlKey && !event.metaKey && !PLAIN.test(name))) return;
    if (NEEDED.some(([keys, controls]) => keys.test(name) && target.closest(controls))) return;
    if (event.repeat && action[0] === "finish") return; // a key held down must not finish one image after another
    event.preventDefault();
    actions[action[0]](...action.slice(1));
  });
}

function nameOf(event) {
  const control = event.ctrlKey || event.metaKey ? "*" : "";
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  const sign = key.length === 1 && key === key.toUpperCase();
  return control + (event.shiftKey && !sign ? "^" : "") + key;
}

/** Fill the help with the table. */
export function fillHelp() {
  const row = ([, keys, does]) => {
    const each = keys.split(" / ").flatMap((key, i) => [i ? " / " : "", make("kbd", { text: key })]);
    return make("tr", {}, make("th", { scope: "row" }, ...each), make("td", { text: does }));
  };
  const table = (group) => {
    const rows = KEYS.filter(([of]) => of === group).map(row);
    return make("section", {}, make("h3", { text: group }), make("table", {}, make("tbody", {}, ...rows)));
  };
  find("keys").replaceChildren(...[...new Set(KEYS.map(([group]) => group))].map(table));
}

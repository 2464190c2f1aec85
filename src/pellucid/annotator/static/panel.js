/* The panel beside the image: classes and answers, the explanation's settings, the regions, the note. */

import { find, make, percent, refill } from "./dom.js";
import { inWords } from "./drawing.js";
import { isWhole } from "./levels.js";

const ANSWERS = [["yes", "Yes", "Y"], ["no", "No", "N"], ["unsure", "Unsure", "U"]];
const SIGNS = { yes: "●", no: "○", unsure: "?", null: "–" };
const SPOKEN = { yes: "yes", no: "no", unsure: "unsure", null: "not known" };
const FEW = 20; // classes that are all listed
const UPRIGHT = matchMedia("(max-width: 43rem)"); // as in page.css: the panel lies under the image

/** Which classes are listed: all where they are few, otherwise the most probable, those that somebody spoke of, and the
 *  chosen one. */
export function listed({ sheet: { image }, classIndex, allClasses }) {
  if (allClasses || image.classes.length <= FEW) return image.classes;
  const marked = new Set(image.marks.map((mark) => mark.class));
  const ranked = [...image.classes].sort((a, b) => b.probability - a.probability);
  const spoken = (c) => c.label === "yes" || c.verdict !== null || marked.has(c.class) || c.index === classIndex;
  return ranked.filter((c, rank) => rank < FEW / 2 || spoken(c));
}

export class Panel {
  constructor(about, actions) {
    this.about = about;
    this.actions = actions;
    this.seen = null; // the image and class that were shown last
    this.image = null; // the image alone
    const button = (method, i) =>
      make("button", { type: "button", "data-method": method, "aria-pressed": "false", title: `${about.labels[method]} (${i + 1})`,
        on: { click: () => actions.chooseMethod(i) } }, about.labels[method], " ", make("kbd", { text: String(i + 1) }));
    find("methods").replaceChildren(...about.methods.map(button));
    find("rho").max = about.rhos.length - 1;
    find("all-classes").addEventListener("click", () => actions.listAll());
  }

  show(state) {
    const { sheet } = state;
    find("panel").inert = find("finish").inert = !sheet;
    if (sheet) this.classes(state, sheet);
    if (sheet) this.regions(state, sheet);
    this.explanation(state);
    this.window(state);
    const note = find("note");
    if (sheet && document.activeElement !== note && note.value !== sheet.image.note) note.value = sheet.image.note;
    find("undo").disabled = !sheet?.done.length;
    find("redo").disabled = !sheet?.undone.length;
    find("back").disabled = !state.canGoBack;
    find("keep-class").checked = state.keepClass;
    for (const each of document.querySelectorAll("button[data-kind]")) pressed(each, each.dataset.kind === state.kind);
    for (const each of document.querySelectorAll("button[data-tool]")) pressed(each, each.dataset.tool === state.tool);
    find("radius-row").hidden = state.tool !== "brush";
    find("radius").value = Math.round(200 * state.radius);
    find("radius-told").textContent = `${Math.round(200 * state.radius)} % wide`;
  }

  classes(state, sheet) {
    refill(find("classes"), listed(state).map((c) => this.classRow(c, sheet, c.index === state.classIndex)));
    const seen = `${sheet.image.id} ${state.classIndex} ${state.allClasses}`;
    const isNew = this.image !== sheet.image.id;
    if (isNew && UPRIGHT.matches) find("panel").scrollTop = 0; // the explanation, which comes first there
    else if (seen !== this.seen) find("classes").querySelector(".answers").parentElement.scrollIntoView({ block: "nearest" });
    this.image = sheet.image.id;
    this.seen = seen;
    const more = find("all-classes");
    more.hidden = sheet.image.classes.length <= FEW;
    more.textContent = state.allClasses ? "Fewer classes" : `All ${sheet.image.classes.length} classes`;
  }

  classRow(c, sheet, chosen) {
    const marks = sheet.marksOf(c.class);
    const said = c.verdict ?? c.label;
    const words = `${c.class}, network ${percent(c.probability)}, label ${SPOKEN[c.label]}` +
      (c.verdict === null ? "" : `, your answer ${c.verdict}`) + (marks.length ? `, regions: ${marks.length}` : "");
    const bar = make("span", { class: "bar" });
    const filled = make("i");
    filled.style.width = `${100 * c.probability}%`;
    bar.append(filled);
    const row = make("button", { type: "button", class: "class", "data-key": `class ${c.index}`, "aria-pressed": String(chosen),
      "aria-label": words, title: c.class, on: { click: () => this.actions.chooseClass(c.index) } },
    make("span", { class: "name", text: c.class }),
    make("span", { class: "count", text: marks.length ? String(marks.length) : "" }), bar,
    make("span", { class: "chance", text: percent(c.probability) }),
    make("span", { class: c.verdict === null ? "sign" : "sign mine", text: SIGNS[said] }));
    return chosen ? make("li", {}, row, this.answers(c)) : make("li", {}, row);
  }

  answers(c) {
    const label = c.label === null ? "no label" : `label: ${c.label}`;
    const button = ([value, text, key]) =>
      make("button", { type: "button", "data-key": `answer ${value}`, "data-answer": value,
        "aria-pressed": String(c.verdict === value), "aria-keyshortcuts": key,
        on: { click: () => this.actions.answer(value) } }, text, " ", make("kbd", { text: key }));
    return make("div", { class: "answers", role: "group", "aria-label": `Is ${c.class} there? ${label}` },
      make("span", { class: "soft", text: "Is it there?" }), ...ANSWERS.map(button));
  }

  regions(state, sheet) {
    const name = sheet.image.classes[state.classIndex].class;
    find("regions-title").textContent = `Regions: ${name}`;
    const row = (mark) => {
      const words = `${mark.kind} ${inWords(mark.shape)}`;
      return make("li", {}, make("i", { class: `swatch ${mark.kind}` }), make("span", { text: words }),
        make("button", { type: "button", "data-key": mark.id, "aria-label": `Remove ${words}`, title: "Remove", text: "✕",
          on: { click: () => this.actions.removeMark(mark) } }));
    };
    const rows = sheet.marksOf(name).map(row);
    refill(find("regions"), rows.length ? rows : [make("li", { class: "soft", text: "none yet: drag on the image" })]);
  }

  explanation(state) {
    const { method } = state;
    pressed(find("explain"), state.explained);
    for (const each of find("methods").children) pressed(each, each.dataset.method === method);
    find("rho-row").hidden = method !== "adversarial";
    const rho = this.about.rhos[state.rhoIndex];
    find("rho").value = state.rhoIndex;
    find("rho").setAttribute("aria-valuetext", String(rho));
    find("rho-told").textContent = String(rho);
    const blend = Math.round(100 * state.blend[method]);
    find("blend").value = blend;
    find("blend-told").textContent = `${blend} %`;
    find("explained").textContent = this.told(state);
  }

  told(state) {
    const found = state.explanation;
    if (!state.explained || !state.sheet) return "";
    if (found?.error) return found.error;
    if (!found) return "being made …";
    const name = state.sheet.image.classes[state.classIndex].class;
    if (state.method === "adversarial") {
      return `moved towards ${name}: ${percent(found.before)} → ${percent(found.after)}, RMS ${found.rms.toFixed(3)}`;
    }
    const number = (value) => value.toPrecision(2).replace("-", "−");
    return `${name}: dark ${number(found.low)} to bright ${number(found.high)}`;
  }

  window({ levels }) {
    const brightness = Math.round(255 - levels.centre);
    const contrast = Math.round(contrastOf(levels.width));
    find("level").value = brightness;
    find("width").value = contrast;
    find("level-told").textContent = String(brightness);
    find("width-told").textContent = `${(255 / levels.width).toFixed(1)} ×`;
    find("window-reset").disabled = isWhole(levels);
  }
}

/* The contrast's slider: from 0 for the widest window to 100 for the narrowest, 50 for the whole range of 255. */
const [WIDEST, WHOLE, NARROWEST] = [510, 255, 4];
export const contrastOf = (width) => (width >= WHOLE ? (50 * (WIDEST - width)) / (WIDEST - WHOLE)
  : 50 + (50 * Math.log(WHOLE / width)) / Math.log(WHOLE / NARROWEST));
export const widthOf = (contrast) => (contrast <= 50 ? WIDEST - (contrast / 50) * (WIDEST - WHOLE)
  : WHOLE * (NARROWEST / WHOLE) ** ((contrast - 50) / 50));

const pressed = (button, is) => button.setAttribute("aria-pressed", String(is));

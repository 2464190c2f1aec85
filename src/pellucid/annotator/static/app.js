/* The page: puts its parts together. What is shown follows from `state`; actions change it and have it drawn again. */

import { ask, Refused, speakAs } from "./api.js";
import { Actions } from "./actions.js";
import { announce, find } from "./dom.js";
import { Flow } from "./flow.js";
import { fillHelp, listen as listenToKeys } from "./keyboard.js";
import { WHOLE } from "./levels.js";
import { Outbox } from "./outbox.js";
import { Panel, widthOf } from "./panel.js";
import { openPeople, showProgress } from "./people.js";
import { Pictures } from "./pictures.js";
import { listen as listenToPointer } from "./pointer.js";
import { keep, recall } from "./preferences.js";
import { Scene } from "./scene.js";
import { Stage } from "./stage.js";
import { listenForName } from "./who.js";

const KEPT = ["tool", "kind", "radius", "method", "keepClass", "singleKeys"];
const about = JSON.parse(find("about").textContent);
const state = {
  ...recall({ tool: "rectangle", kind: "relevant", radius: 0.03, method: about.methods[0], keepClass: false, singleKeys: true }),
  sheet: null, classIndex: 0, allClasses: false, explained: false, rhoIndex: Math.floor((about.rhos.length - 1) / 2), levels: WHOLE,
  view: null, draft: null, cursor: null, pixels: null, explanation: null, canGoBack: false,
  blend: Object.fromEntries(about.methods.map((method) => [method, method === "adversarial" ? 1 : 0.5])),
};
if (!about.methods.includes(state.method)) state.method = about.methods[0];

function start() {
  speakAs(about.annotator);
  const outbox = new Outbox(`${about.scope}|${about.annotator}`, send, showSaves);
  const flow = new Flow(outbox, {
    opened: () => actions.opened(flow),
    renewed: () => redraw(),
    progress: (progress) => showProgress(progress, about.annotator),
    busy: () => state.draft !== null || document.activeElement === find("note"),
    say: announce,
    signedOut,
    unreachable: () => actions.unreachable(),
  });
  const stage = new Stage(state, about, new Scene(find("stage")), redraw);
  const actions = new Actions({ state, about, flow, stage, pictures: new Pictures(), redraw,
    openPeople: () => openPeople(about, (image) => flow.openById(image.id)) });
  const panel = new Panel(about, actions);
  let due = false;

  function redraw() {
    if (due) return;
    due = true;
    requestAnimationFrame(() => {
      due = false;
      state.canGoBack = flow.canGoBack();
      panel.show(state);
      stage.draw(flow.rest);
      keep(state, KEPT);
    });
  }

  function showSaves() {
    const { state: how, text } = outbox.state();
    find("saves").dataset.state = how;
    if (find("saves-text").textContent !== text) find("saves-text").textContent = text;
    find("saves-button").hidden = how !== "offline" && how !== "refused";
    find("saves-button").textContent = how === "refused" ? "Why?" : "Try again";
  }

  listenToPointer(find("stage"), stage.pointer(actions));
  listenToKeys(actions, () => state.singleKeys);
  connect(actions, outbox, flow);
  new ResizeObserver(() => stage.resized()).observe(find("stage-box"));
  window.addEventListener("pagehide", () => {
    actions.endDraft();
    actions.saveNote();
  });
  window.addEventListener("beforeunload", (event) => outbox.unstored.size && event.preventDefault());
  showProgress(null, about.annotator);
  showSaves();
  redraw();
  flow.start();
}

async function send(entry) {
  try {
    return await ask(entry.method, entry.path, entry.body);
  } catch (error) {
    if (error instanceof Refused && error.status === 401) signedOut();
    throw error;
  }
}

/* The server no longer lets this browser in, as after a start with another token, or knows it by another name. Loaded again,
 * the page asks for what it needs; what is drawn waits in the browser's storage. */
const signedOut = () => window.location.reload();

/* Buttons and sliders. */
function connect(actions, outbox, flow) {
  const on = (id, event, does) => find(id).addEventListener(event, does);
  for (const each of document.querySelectorAll("button[data-kind]")) {
    each.addEventListener("click", () => actions.chooseKind(each.dataset.kind));
  }
  for (const each of document.querySelectorAll("button[data-tool]")) {
    each.addEventListener("click", () => actions.chooseTool(each.dataset.tool, false));
  }
  on("undo", "click", () => actions.undo());
  on("redo", "click", () => actions.redo());
  on("zoom-in", "click", () => actions.zoom(1.25));
  on("zoom-out", "click", () => actions.zoom(0.8));
  on("zoom-fit", "click", () => actions.zoom(0));
  on("explain", "click", () => actions.toggleExplanation());
  on("rho", "input", (event) => actions.chooseRho(Number(event.target.value)));
  on("blend", "input", (event) => actions.chooseBlend(Number(event.target.value) / 100));
  on("radius", "input", (event) => actions.chooseRadius(Number(event.target.value) / 200));
  on("level", "input", (event) => actions.setLevels({ centre: 255 - Number(event.target.value) }));
  on("width", "input", (event) => actions.setLevels({ width: widthOf(Number(event.target.value)) }));
  on("window-reset", "click", () => actions.window());
  on("keep-class", "change", (event) => (state.keepClass = event.target.checked));
  on("note", "input", (event) => actions.noteChanged(event.target.value));
  on("note", "blur", () => actions.saveNote());
  on("done", "click", () => actions.finish("done"));
  on("skip", "click", () => actions.finish("skipped"));
  on("back", "click", () => actions.goBack(1));
  on("help-button", "click", () => actions.openHelp());
  on("people-button", "click", () => actions.openPeople());
  on("change-name", "click", signIn);
  on("single-keys", "change", (event) => (state.singleKeys = event.target.checked));
  find("single-keys").checked = state.singleKeys;
  on("saves-button", "click", () => settle(outbox, flow));
  on("refused-again", "click", () => outbox.settleRefused(true) && find("refused").close());
  on("refused-drop", "click", () => outbox.settleRefused(false) && find("refused").close());
  document.addEventListener("click", (event) => {
    const pointed = event.detail > 0 && event.target.closest("button, label.check");
    if (pointed && !document.querySelector("dialog[open]")) find("stage").focus({ preventScroll: true });
  });
}

/* What the button beside the state of saving does: try now what waits, or show what was refused. */
function settle(outbox, flow) {
  const refused = outbox.refused();
  if (refused.length === 0) {
    outbox.flush();
    flow.refresh();
    return;
  }
  const line = (entry) => Object.assign(document.createElement("li"), { textContent: `${entry.what}: ${entry.refused}` });
  find("refused-list").replaceChildren(...refused.map(line));
  find("refused").showModal();
}

function signIn() {
  const dialog = find("signin");
  for (const other of document.querySelectorAll("dialog[open]")) if (other !== dialog) other.close();
  if (!dialog.open) dialog.showModal();
  find("signin-name").value = about.annotator ?? "";
}

listenForName();
fillHelp();
if (about.annotator === null) {
  find("signin").addEventListener("cancel", (event) => event.preventDefault());
  signIn();
} else start();

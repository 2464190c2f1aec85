/* The panel of people: who has done how much, how far they agree, and one's own images to go back to. */

import { ask } from "./api.js";
import { find, make } from "./dom.js";

export function showProgress(progress, annotator) {
  find("who").textContent = annotator ?? "not signed in";
  if (!progress) return;
  find("done-bar").max = Math.max(progress.wanted, 1);
  find("done-bar").value = progress.done;
  find("done-count").textContent = `${progress.done} of ${progress.wanted} done, ${progress.mine.done} by you`;
}

/** Open it; `choose` is called with an image of one's own. */
export async function openPeople(about, choose) {
  const dialog = find("people");
  find("people-progress").textContent = "The server is asked …";
  dialog.showModal();
  try {
    const [progress, agreement, mine] = await Promise.all(
      ["/api/progress", "/api/agreement", "/api/images"].map((path) => ask("GET", path)),
    );
    find("people-progress").textContent =
      `${progress.done} of ${progress.wanted} done (${progress.images} images, ${about.per_image} ` +
      `${about.per_image === 1 ? "person" : "people"} each), ${progress.skipped} skipped; order: ${about.order}; ` +
      `network: ${about.network.name}.`;
    find("people-rows").replaceChildren(...progress.annotators.map((person) =>
      row(person.name, [person.done, person.skipped, person.marks])));
    showAgreement(agreement);
    showMine(mine.images, (image) => {
      dialog.close();
      choose(image);
    });
  } catch (error) {
    find("people-progress").textContent = `The server does not answer: ${error.message}`;
  }
}

function showAgreement({ images, classes }) {
  find("agreement").hidden = classes.length === 0 || images === 0;
  find("agreement-told").textContent = images === 0
    ? "Agreement is shown once two people have annotated the same image."
    : `Images annotated by two people or more: ${images}.`;
  const number = (value) => (value === null ? "–" : value.toFixed(2));
  find("agreement-rows").replaceChildren(...classes.map((c) => row(c.class, [
    c.verdicts, number(c.kappa), number(c.relevant.iou), number(c.irrelevant.iou),
  ])));
}

function showMine(images, choose) {
  const button = (image, place) => {
    const text = `${images.length - place}: ${image.state}, regions: ${image.marks}`;
    return make("li", {}, make("button", { type: "button", text, on: { click: () => choose(image) } }));
  };
  const none = make("li", { class: "soft", text: "none yet" });
  find("mine").replaceChildren(...(images.length ? images.map(button) : [none]));
}

const row = (head, cells) =>
  make("tr", {}, make("th", { scope: "row", text: head }), ...cells.map((cell) => make("td", { text: String(cell) })));

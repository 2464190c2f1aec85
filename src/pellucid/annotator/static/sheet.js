/* What one person said about one image: marks, answers, a note; with undo and redo. */

import { uuid } from "./api.js";

/** The image as it will be once the entries of an outbox have arrived. */
export function withPending(image, entries) {
  const result = { ...image, marks: [...image.marks], classes: image.classes.map((c) => ({ ...c })) };
  for (const { image: id, method, path, body } of entries) {
    if (id !== image.id) continue;
    const [what, key] = path.split("/").slice(4); // /api/images/ID/WHAT/KEY
    if (what === "marks") {
      result.marks = result.marks.filter((mark) => mark.id !== key);
      if (method === "PUT") result.marks.push({ id: key, ...body });
    } else if (what === "verdicts") result.classes[Number(key)].verdict = body.present;
    else if (what === "note") result.note = body.text;
    else if (what === "state") result.state = body.state;
  }
  return result;
}

export class Sheet {
  /** @param image as the server tells it, with what is pending; @param write adds an entry to the outbox. */
  constructor(image, write) {
    this.image = image;
    this.write = write;
    this.done = image.marks.map((mark) => ({ type: "mark", mark }));
    this.undone = [];
  }

  marksOf(className) {
    return this.image.marks.filter((mark) => mark.class === className);
  }

  /** Take over what changed elsewhere, as in another tab; what can be undone here stays so. */
  renew(image) {
    const here = new Set(image.marks.map((mark) => mark.id));
    const known = new Set(this.image.marks.map((mark) => mark.id));
    this.done = this.done.filter((step) => step.type !== "mark" || here.has(step.mark.id));
    for (const mark of image.marks) if (!known.has(mark.id)) this.done.push({ type: "mark", mark });
    this.image = image;
  }

  addMark(className, kind, shape) {
    const mark = { id: uuid(), class: className, kind, shape };
    this.put(mark);
    this.remember({ type: "mark", mark });
    return mark;
  }

  removeMark(mark) {
    this.take(mark);
    this.remember({ type: "removal", mark });
  }

  answer(index, present) {
    const before = this.image.classes[index].verdict;
    if (before === present) return;
    this.say(index, present);
    this.remember({ type: "answer", index, before, after: present });
  }

  note(text) {
    this.image.note = text;
    this.send("note", "PUT", "note", { text });
  }

  close(state) {
    this.image.state = state;
    this.send("step", "PUT", "state", { state });
  }

  /** Take the last step back; gives it, or null. */
  undo() {
    const step = this.done.pop();
    if (!step) return null;
    if (step.type === "mark") this.take(step.mark);
    else if (step.type === "removal") this.revive(step.mark);
    else this.say(step.index, step.before);
    this.undone.push(step);
    return step;
  }

  /** Do the step again that was taken back last; gives it, or null. */
  redo() {
    const step = this.undone.pop();
    if (!step) return null;
    if (step.type === "mark") this.revive(step.mark);
    else if (step.type === "removal") this.take(step.mark);
    else this.say(step.index, step.after);
    this.done.push(step);
    return step;
  }

  remember(step) {
    this.done.push(step);
    this.undone = [];
  }

  /** A mark drawn again gets a new id: the server never brings an undone one back. */
  revive(mark) {
    const old = mark.id;
    const id = uuid();
    for (const step of [...this.done, ...this.undone]) if (step.mark?.id === old) step.mark.id = id;
    mark.id = id;
    this.put(mark);
  }

  put(mark) {
    this.image.marks.push(mark);
    const { class: className, kind, shape } = mark;
    this.send("stroke", "PUT", `marks/${mark.id}`, { class: className, kind, shape });
  }

  take(mark) {
    this.image.marks = this.image.marks.filter((other) => other.id !== mark.id);
    this.send("stroke", "DELETE", `marks/${mark.id}`);
  }

  say(index, present) {
    this.image.classes[index].verdict = present;
    this.send("answer", "PUT", `verdicts/${index}`, { present });
  }

  send(what, method, path, body) {
    this.write({ what, method, path: `/api/images/${this.image.id}/${path}`, body, image: this.image.id });
  }
}

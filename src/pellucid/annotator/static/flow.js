/* Which image is annotated: the ones reserved for this person, the next at once, those before, and other tabs. */

import { ask, Refused, Unreachable } from "./api.js";
import { Sheet, withPending } from "./sheet.js";

const AHEAD = 4; // images reserved, the one that is shown among them
const OFTEN = 60_000; // milliseconds between visits to the server that keep reservations alive

export class Flow {
  /** @param outbox of this person; @param does {opened(), renewed(), progress(p), busy(), say(text), signedOut()}. */
  constructor(outbox, does) {
    this.outbox = outbox;
    this.does = does;
    this.sheets = new Map();
    this.queue = [];
    this.visited = []; // ids of images done or skipped, the oldest first
    this.closed = new Set(); // of them those closed on this page, which an answer under way may still offer
    this.sheet = null;
    this.rest = "open"; // what the server has: images, only ones that others hold ("away"), or none ("done")
    this.channel = new BroadcastChannel("pellucid.annotate");
    this.channel.onmessage = ({ data }) => data.scope === outbox.prefix && this.refresh();
    setInterval(() => document.visibilityState === "visible" && this.refresh(), OFTEN);
    document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && this.refresh());
    window.addEventListener("focus", () => this.refresh());
  }

  async start() {
    await this.refresh();
    await this.reach(async () => {
      const { images } = await ask("GET", "/api/images");
      const before = images.map((image) => image.id).reverse();
      this.visited = [...before, ...this.visited.filter((id) => !before.includes(id))];
      this.does.renewed();
    });
  }

  /** Keep an entry, send it, and let the other tabs know. */
  write(entry) {
    return this.outbox.add(entry).then(() => this.channel.postMessage({ scope: this.outbox.prefix }));
  }

  /** Ask the server how things stand. */
  refresh() {
    this.refreshing ??= this.reach(() => this.renew()).finally(() => (this.refreshing = null));
    return this.refreshing;
  }

  async renew() {
    await this.outbox.flush(); // a sign of life, before the server judges who holds what
    const { images, away, progress } = await this.get(`/api/queue?count=${AHEAD}`);
    this.queue = images.filter((image) => image.state === "offered" && !this.closed.has(image.id));
    this.rest = images.length ? "open" : away ? "away" : "done";
    this.does.progress(progress);
    if (this.does.busy()) return;
    const current = this.sheet?.image;
    const here = this.queue.find((image) => image.id === current?.id);
    if (!current) this.open(this.queue[0]);
    else if (here) this.take(here);
    else await this.lookAgain(current);
  }

  /** The image that is shown is not in the queue: it was opened again, or is closed, or belongs to somebody else. */
  async lookAgain(current) {
    try {
      const image = await this.get(`/api/images/${current.id}`);
      if (this.does.busy()) return; // begun meanwhile; the next visit tells
      if (image.state === "lapsed") {
        this.goOn("this image was given to somebody else, after a long time without a sign of you");
      } else if (current.state === "offered" && image.state !== "offered") {
        this.leave(image.id);
        this.goOn("this image was finished in another tab");
      } else this.take(image);
    } catch (error) {
      if (!(error instanceof Refused) || ![403, 404].includes(error.status)) throw error;
      this.goOn("this image is not offered any more");
    }
  }

  goOn(why) {
    this.does.say(why);
    this.open(this.queue[0]);
  }

  /** Close the image and go on. */
  finish(state) {
    const { sheet } = this;
    if (!sheet) return;
    sheet.close(state);
    this.leave(sheet.image.id);
    this.queue = this.queue.filter((image) => image.id !== sheet.image.id);
    this.open(this.queue[0]);
    this.outbox.flush().then(() => this.refresh());
  }

  leave(id) {
    this.closed.add(id);
    if (!this.visited.includes(id)) this.visited.push(id);
  }

  canGoBack = () => this.visited.length > 0 && this.visited[0] !== this.sheet?.image.id;

  /** So many images back; negative ones forth, in the end to the one that is next. */
  async goBack(steps) {
    const here = this.visited.indexOf(this.sheet?.image.id);
    const place = (here < 0 ? this.visited.length : here) - steps;
    if (place < 0) return;
    const id = this.visited[place];
    if (id === undefined) this.open(this.queue[0]);
    else await this.openById(id);
  }

  /** An image of one's own again, as the server knows it or, without the server, as it was left; unless something was
   *  begun meanwhile on the one that is shown. */
  async openById(id) {
    await this.reach(async () => {
      const image = await this.get(`/api/images/${id}`).catch((error) => {
        const kept = this.sheets.get(id)?.image;
        if (error instanceof Unreachable && kept) return kept;
        throw error;
      });
      if (this.does.busy()) this.does.say("still on this image, for something was begun on it");
      else this.open(image);
    });
  }

  open(image) {
    this.sheet = image ? this.sheetOf(image) : null;
    this.does.opened();
  }

  take(image) {
    this.sheetOf(image);
    this.does.renewed();
  }

  sheetOf(image) {
    const kept = this.sheets.get(image.id);
    if (kept && kept.image !== image) kept.renew(image);
    const sheet = kept ?? new Sheet(image, (entry) => this.write(entry));
    this.sheets.set(image.id, sheet);
    return sheet;
  }

  /** Ask for images; what has not arrived at the server is added to the answer. */
  async get(path) {
    const asked = this.outbox.asking();
    const answer = await ask("GET", path);
    this.outbox.reached();
    const entries = this.outbox.pending(asked);
    return answer.images
      ? { ...answer, images: answer.images.map((image) => withPending(image, entries)) }
      : withPending(answer, entries);
  }

  async reach(work) {
    try {
      await work();
      if (this.outbox.waiting().length) this.outbox.flush(); // the server is there again
    } catch (error) {
      if (error instanceof Refused && error.status === 401) this.does.signedOut();
      else if (error instanceof Refused) this.does.say(error.message);
      else if (error instanceof Unreachable) this.does.unreachable();
      else throw error;
    }
  }
}

/* What was drawn and said but has not reached the server. It lies in the browser's storage before anything is sent,
 * so that no reload, crash or dead network loses it, and all tabs share it.
 *
 * An entry: {key, method, path, body, image, what}; `what` is "stroke", "answer", "note" or "step". */

import { Refused, uuid } from "./api.js";

const WAITS = [500, 1000, 2000, 4000, 8000]; // milliseconds between attempts

export class Outbox {
  /** @param scope whose entries: dataset and annotator; @param send (entry) => promise, as `ask` throws;
   *  @param told called whenever something changed. */
  constructor(scope, send, told, storage = window.localStorage) {
    this.prefix = `pellucid.outbox|${scope}|`;
    this.send = send;
    this.told = told;
    this.storage = storage;
    this.unstored = new Map(); // where the storage is full or forbidden
    this.offline = false;
    this.attempt = 0;
    this.timer = null;
    this.sending = null;
    this.sent = []; // lately, with the time of the answer
    window.addEventListener("online", () => this.flush());
    window.addEventListener("storage", (event) => event.key?.startsWith(this.prefix) && this.told());
  }

  /** All entries, the oldest first. */
  entries() {
    const found = [...this.unstored.values()];
    for (let i = 0; i < this.storage.length; i++) {
      const key = this.storage.key(i);
      if (key?.startsWith(this.prefix)) found.push({ ...JSON.parse(this.storage.getItem(key)), key });
    }
    return found.sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** Those that will be sent, and those that the server refused. */
  waiting = () => this.entries().filter((entry) => !entry.refused);

  refused = () => this.entries().filter((entry) => entry.refused);

  /** Keep an entry and send it. Of what can be said only once (an answer, a note), the newest replaces the others. */
  add(entry) {
    if (entry.what !== "stroke") {
      for (const old of this.waiting()) if (old.path === entry.path && old.method === entry.method) this.drop(old);
    }
    const last = this.entries().at(-1)?.key.slice(this.prefix.length).split("|")[0] ?? "0";
    const time = String(Math.max(Date.now(), Number(last) + 1)).padStart(15, "0"); // never before an older entry
    this.keep({ ...entry, key: `${this.prefix}${time}|${uuid()}` });
    this.told();
    return this.flush();
  }

  /** What an answer of the server may not know yet: all that waits, waited, or was sent since it was asked for. */
  pending(asked) {
    const found = new Map();
    const lately = this.sent.filter(({ at }) => at >= asked.at).map(({ entry }) => entry);
    for (const entry of [...asked.waiting, ...lately, ...this.waiting()]) found.set(entry.key, entry);
    return [...found.values()].sort((a, b) => (a.key < b.key ? -1 : 1));
  }

  /** To be taken before the server is asked, for `pending`. */
  asking = () => ({ at: performance.now(), waiting: this.waiting() });

  keep(entry) {
    try {
      this.storage.setItem(entry.key, JSON.stringify(entry));
    } catch {
      this.unstored.set(entry.key, entry);
    }
  }

  drop(entry) {
    this.unstored.delete(entry.key);
    this.storage.removeItem(entry.key);
  }

  /** Let refused entries go, or try them again. */
  settleRefused(again) {
    for (const entry of this.refused()) {
      if (again) this.keep({ ...entry, refused: undefined });
      else this.drop(entry);
    }
    this.told();
    return again ? this.flush() : Promise.resolve();
  }

  /** Send what waits, one after another, in one tab at a time; resolves when nothing waits or nothing works. */
  flush() {
    clearTimeout(this.timer);
    this.sending ??= this.alone(() => this.sendAll()).finally(() => {
      this.sending = null;
      this.told();
      if (this.waiting().length && !this.offline) this.flush(); // added in the last moment
    });
    return this.sending;
  }

  alone(work) {
    return navigator.locks ? navigator.locks.request(this.prefix, work) : work(); // locks need https or localhost
  }

  async sendAll() {
    for (let entry = this.waiting()[0]; entry; entry = this.waiting()[0]) {
      this.told();
      try {
        await this.send(entry);
        this.arrived(entry);
      } catch (error) {
        if (error instanceof Refused && error.status === 410) {
          this.arrived(entry); // the mark to be taken back never was there
        } else if (error instanceof Refused && error.status !== 401) {
          this.keep({ ...entry, refused: error.message });
        } else {
          this.offline = true; // or nobody is signed in; either way it is kept
          this.timer = setTimeout(() => this.flush(), WAITS[Math.min(this.attempt++, WAITS.length - 1)]);
          return;
        }
      }
      this.reached();
    }
  }

  arrived(entry) {
    this.sent = [...this.sent.slice(-50), { entry, at: performance.now() }];
    this.drop(entry);
  }

  /** The server answers: to this or to any other request. */
  reached() {
    this.offline = false;
    this.attempt = 0;
    this.told();
  }

  /** The server does not answer. */
  lost() {
    this.offline = true;
    this.told();
  }

  /** How it stands: {state: "saved" | "saving" | "offline" | "refused", text}. */
  state() {
    const refused = this.refused();
    if (refused.length) return { state: "refused", text: `refused: ${count(refused)}` };
    const waiting = this.waiting();
    if (waiting.length === 0) return this.offline ? { state: "offline", text: "offline" } : { state: "saved", text: "saved" };
    const where = this.unstored.size ? " in this tab only" : "";
    return this.offline
      ? { state: "offline", text: `offline: ${count(waiting)} kept${where}` }
      : { state: "saving", text: "saving" };
  }
}

function count(entries) {
  const words = ["stroke", "answer", "note", "step"];
  const number = (what) => entries.filter((entry) => entry.what === what).length;
  const told = (what) => `${number(what)} ${what}${number(what) === 1 ? "" : "s"}`;
  return words.filter(number).map(told).join(", ");
}

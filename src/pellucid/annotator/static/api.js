/* Requests to the server: what it answers, or why not. */

const PATIENCE = 20_000; // milliseconds for an answer in JSON

/** The server could not be reached, or has trouble of its own: the same request may work later. */
export class Unreachable extends Error {}

/** The server understood the request and says no. */
export class Refused extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }
}

let speaker = {}; // who speaks, told with every request: a cookie alone may have changed under an open page

/** Say who all requests are made by. */
export function speakAs(name) {
  speaker = { "X-Annotator": encodeURIComponent(name) };
}

/** Ask for JSON.
 * @throws Unreachable or Refused */
export async function ask(method, path, body) {
  const answer = await reach(path, {
    method,
    headers: body === undefined ? {} : { "Content-Type": "application/json" },
    body: body === undefined ? undefined : JSON.stringify(body),
    cache: "no-store",
    signal: AbortSignal.timeout(PATIENCE),
  });
  try {
    return await answer.json();
  } catch (error) {
    throw new Unreachable(String(error));
  }
}

/** Ask for a picture; what it means is in the headers. No time limit: an explanation may take long to make.
 * @throws Unreachable or Refused */
export async function askPicture(path) {
  const answer = await reach(path, {});
  try {
    const picture = await createImageBitmap(await answer.blob());
    const told = (name) => (answer.headers.has(name) ? Number(answer.headers.get(name)) : null);
    return { picture, low: told("X-Low"), high: told("X-High"), before: told("X-Before"), after: told("X-After"),
      rms: told("X-Rms") };
  } catch (error) {
    throw new Unreachable(String(error));
  }
}

async function reach(path, options) {
  let answer;
  try {
    answer = await fetch(path, { credentials: "same-origin", ...options, headers: { ...options.headers, ...speaker } });
  } catch (error) {
    throw new Unreachable(String(error));
  }
  if (answer.ok) return answer;
  const told = (await answer.json().catch(() => ({}))).error ?? `${answer.status} ${answer.statusText}`;
  if (answer.status >= 500 || answer.status === 408 || answer.status === 429) throw new Unreachable(told);
  throw new Refused(answer.status, told);
}

/** A version-4 UUID; crypto.randomUUID is not there on a page that came by plain http from another machine. */
export function uuid() {
  const bytes = crypto.getRandomValues(new Uint8Array(16));
  bytes[6] = (bytes[6] & 0x0f) | 0x40;
  bytes[8] = (bytes[8] & 0x3f) | 0x80;
  const text = Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
  return [text.slice(0, 8), text.slice(8, 12), text.slice(12, 16), text.slice(16, 20), text.slice(20)].join("-");
}

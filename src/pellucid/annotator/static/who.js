/* Who annotates: another name means another page, on every page that is open. */

import { ask } from "./api.js";
import { find } from "./dom.js";

/** Listen to the form for a name, and to the other pages: what is not sent stays with the name under which it was drawn. */
export function listenForName() {
  const names = new BroadcastChannel("pellucid.annotate.names");
  names.onmessage = () => window.location.reload();
  find("signin-form").addEventListener("submit", async (event) => {
    event.preventDefault();
    try {
      await ask("POST", "/api/session", { annotator: find("signin-name").value.trim() });
      names.postMessage("changed");
      window.location.reload();
    } catch (error) {
      find("signin-told").textContent = error.message;
    }
  });
}

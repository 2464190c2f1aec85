/* The page that asks for a name and the server's token, or takes an invitation, which says both. */

import { ask } from "./api.js";
import { find } from "./dom.js";

const names = new BroadcastChannel("pellucid.annotate.names");
names.onmessage = () => window.location.replace("/");
find("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("POST", "/api/session", said());
    names.postMessage("changed"); // the pages of another name are to be loaded again
    window.location.replace("/");
  } catch (error) {
    find("signin-told").textContent = error.message;
  }
});

/* What the form says. */
function said() {
  const code = find("signin-code");
  if (code) return { invitation: code.value };
  return { annotator: find("signin-name").value.trim(), token: find("signin-token").value };
}

if (find("signin-code")) find("signin-form").querySelector("button").focus();
else find(find("signin-name").value ? "signin-token" : "signin-name").focus();

/* The page that asks for a name and the server's token. */

import { ask } from "./api.js";
import { find } from "./dom.js";

find("signin-form").addEventListener("submit", async (event) => {
  event.preventDefault();
  try {
    await ask("POST", "/api/session", { annotator: find("signin-name").value.trim(), token: find("signin-token").value });
    window.location.replace("/");
  } catch (error) {
    find("signin-told").textContent = error.message;
  }
});
find(find("signin-name").value ? "signin-token" : "signin-name").focus();

// Keeps the page fresh: fetches the same URL every two seconds and swaps <main> where it changed. Without JavaScript the
// page is whole, only older. It pauses while the tab is hidden, text is selected, or someone types;
// and for good where the page shows what was entered and cannot be (data-still).
"use strict";

const EVERY_MS = 2000;
const ONE_REQUEST_MS = 3000;
const light = document.getElementById("live");
let shown = document.getElementById("main").innerHTML;

function tell(state) {
  if (light.textContent === state) return;
  light.hidden = false;
  light.textContent = state;
  light.dataset.state = state;
}

function isBusy() {
  const active = document.activeElement;
  const types = active && (active.tagName === "SELECT" || (active.matches("input, textarea") && active.closest("main")));
  const fields = [...document.querySelectorAll("main input, main textarea")];
  const typed = fields.some((each) => each.value !== each.defaultValue);
  return types || typed || !document.getSelection().isCollapsed || document.querySelector("[data-still]");
}

function swap(fresh, title) {
  const main = document.getElementById("main");
  const open = new Map([...main.querySelectorAll("details[id]")].map((each) => [each.id, each.open]));
  const focused = main.contains(document.activeElement) ? document.activeElement : null;
  const path = focused && (focused.id || focused.getAttribute("href") || focused.closest("[id]")?.id);
  const scrolls = [...main.querySelectorAll("pre, .scroll, .chips")].map((each) => [each.scrollLeft, each.scrollTop]);
  main.innerHTML = fresh;
  document.title = title;
  main.querySelectorAll("details[id]").forEach((each) => {
    if (open.has(each.id)) each.open = open.get(each.id);
  });
  main.querySelectorAll("pre, .scroll, .chips").forEach((each, index) => {
    if (scrolls[index]) [each.scrollLeft, each.scrollTop] = scrolls[index];
  });
  if (path) {
    const again = document.getElementById(path) || [...main.querySelectorAll("a")].find((a) => a.getAttribute("href") === path);
    const target = again?.tagName === "DETAILS" ? again.querySelector("summary") : again;
    target?.focus({ preventScroll: true });
  }
  revive();
}

async function refresh() {
  if (document.hidden || isBusy()) return tell("paused");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = fresh.getElementById("main");
    if (!main || isBusy()) return tell("paused");
    if (main.innerHTML !== shown) {
      shown = main.innerHTML;
      swap(shown, fresh.title);
    }
    tell(answer.ok ? "live" : "waiting");
  } catch {
    tell("offline");
  }
}

async function copy(button) {
  const text = document.getElementById(button.dataset.copy).textContent;
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement("textarea")); // plain http has no clipboard
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function revive() {
  document.querySelectorAll("[data-copy]").forEach((button) => (button.hidden = false));
  document.querySelectorAll("[data-submit-on-change] button").forEach((button) => (button.hidden = true));
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy]");
  if (button) copy(button);
});
document.addEventListener("submit", (event) => {
  const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (event.target.dataset.sent || (question && !confirm(question))) return event.preventDefault();
  if (event.target.method !== "post") return;
  event.target.dataset.sent = "yes"; // a double click is one request
  setTimeout(() => delete event.target.dataset.sent, ONE_REQUEST_MS);
});
document.addEventListener("change", (event) => {
  event.target.closest("[data-submit-on-change]")?.requestSubmit();
});
document.addEventListener("visibilitychange", () => !document.hidden && refresh());

revive();
tell("live");
(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    await refresh();
  }
})();

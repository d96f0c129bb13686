// Keeps the page fresh: fetches the same URL, and where it changed patches the page in place, so that what has the focus,
// is open or is scrolled stays so. A page that says where its changes come from (#stream) is fetched when something came;
// others, and those whose stream is refused or ends, every two seconds. Without JavaScript the page is whole, only older.
// It pauses while the tab is hidden, text is selected, or something is typed or ticked; and for good where the page shows
// what was entered and cannot be (data-still).
"use strict";

const POLL_MS = 2000;
const LEAST_MS = 1000; // between two looks that a stream asked for
const PATIENCE = 10; // so many times as long as the last look took: a server that is slow is asked less often
const STREAM_AGAIN_MS = 30000; // after which a stream that was refused is tried again
const AFTER_END_MS = 1500; // in which the last lines of a log are written
const light = document.getElementById("live");
let shown = document.getElementById("main").innerHTML;
let looked = performance.now(); // when the last look began, and how long it took
let lastMs = 0;
let due = 0; // the timer of the next look

htmx.registerExtension("keep-open", {
  // What a person opened stays open, whatever the server says.
  htmx_before_morph_attr: (element, { attrName }) => !(attrName === "open" && element.tagName === "DETAILS"),
});

function tell(state) {
  if (light.textContent === state) return;
  light.hidden = false;
  light.textContent = state;
  light.dataset.state = state;
}

function isBusy() {
  const active = document.activeElement;
  const types = active?.closest("main") && active.matches("input:not([type=checkbox]), textarea, select");
  const fields = [...document.querySelectorAll("main input, main textarea")];
  const isTick = (each) => each.type === "checkbox" || each.type === "radio";
  const changed = fields.some((each) =>
    isTick(each) ? each.checked !== each.defaultChecked : each.value !== each.defaultValue,
  );
  return types || changed || !document.getSelection().isCollapsed || document.querySelector("[data-still]");
}

function wait() {
  tell("paused");
  return false;
}

// Whether it could look. One look after the other: a patch that is overtaken by the next would be the last.
let looking = Promise.resolve();

function refresh() {
  return (looking = looking.then(lookNow));
}

async function lookNow() {
  if (document.hidden || isBusy()) return wait();
  looked = performance.now();
  try {
    const address = location.href;
    const answer = await fetch(address, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = fresh.getElementById("main");
    if (!main || isBusy() || address !== location.href) return wait();
    if (main.innerHTML !== shown) {
      shown = main.innerHTML;
      await htmx.swap({ text: shown, target: "#main", swap: "innerMorph", sourceElement: document.body });
      document.title = fresh.title;
      wear(fresh);
      document.dispatchEvent(new Event("fresh"));
    }
    tell(answer.ok ? "live" : "waiting");
  } catch {
    tell("offline");
  } finally {
    lastMs = performance.now() - looked;
  }
  return true;
}

// The icon of the tab is part of what the page tells.
function wear(fresh) {
  const [worn, told] = [document, fresh].map((each) => each.querySelector("link[rel=icon]"));
  if (told && worn.getAttribute("href") !== told.getAttribute("href")) worn.setAttribute("href", told.getAttribute("href"));
}

// When to look

function look(afterMs) {
  clearTimeout(due);
  due = setTimeout(async () => {
    const hasLooked = await refresh();
    attend();
    look(hasLooked ? pause() : POLL_MS);
  }, afterMs);
}

function pause() {
  const told = document.getElementById("stream");
  if (told?.dataset.url && !stream) return POLL_MS;
  return Number(told?.dataset.every) || POLL_MS;
}

// Something came: look soon, together with what comes until then. Many who watch the same do not look at one moment.
function hear() {
  const since = performance.now() - looked;
  const least = Math.max(LEAST_MS, PATIENCE * lastMs);
  if (soon) return;
  soon = setTimeout(() => {
    soon = 0;
    look(0);
  }, Math.max(0, least - since) + Math.random() * 200);
}

// The stream

let stream = null;
let soon = 0;
let refusedAt = -Infinity;

// Opens the stream that the page names, and closes one that it names no more.
function attend() {
  const url = document.getElementById("stream")?.dataset.url;
  if (!url || document.hidden) return leave();
  if (stream || performance.now() - refusedAt < STREAM_AGAIN_MS) return;
  stream = new EventSource(url);
  for (const name of document.getElementById("stream").dataset.events.split(" ")) stream.addEventListener(name, hear);
  if (!url.includes("after=")) stream.addEventListener("open", hear, { once: true }); // what came before it opened
  stream.addEventListener("end", () => {
    leave();
    refusedAt = performance.now();
    hear();
    setTimeout(hear, AFTER_END_MS);
  });
  stream.addEventListener("error", () => {
    if (stream?.readyState !== EventSource.CLOSED) return; // it comes again by itself
    leave();
    refusedAt = performance.now();
    look(POLL_MS);
  });
}

function leave() {
  stream?.close();
  stream = null;
}

document.addEventListener("visibilitychange", () => {
  if (document.hidden) leave();
  else look(0);
});
addEventListener("pagehide", leave);

// Links that change what this page shows, and lead to no other: the address changes, the page is patched.
async function go(address) {
  history.pushState(null, "", address);
  document.getSelection().removeAllRanges();
  await refresh();
  document.dispatchEvent(new Event("moved"));
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.("a[data-here]");
  if (!link || event.button || event.ctrlKey || event.metaKey || event.shiftKey || event.defaultPrevented) return;
  if (isBusy()) return; // what was typed is not thrown away by a patch that cannot come: the browser goes there
  event.preventDefault();
  go(link.href);
});
addEventListener("popstate", () => refresh());

tell("live");
attend();
look(pause());

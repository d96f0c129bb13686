// What the frame of every page does: theme, times, keyboard, copy buttons, questions before a form is sent.
// Each of it is a comfort: without JavaScript the page is whole.
"use strict";

const ONE_REQUEST_MS = 3000;
const CHORD_MS = 1500;
const ROW = "a.row, tbody a[href]";

// Theme and times, kept on this machine

function kept(name) {
  try {
    return localStorage.getItem(`celeriac-${name}`) || "";
  } catch {
    return "";
  }
}

function choose(name, value) {
  try {
    localStorage.setItem(`celeriac-${name}`, value);
  } catch {
    // it holds for this page
  }
  if (name === "theme") document.documentElement.dataset.theme = value;
  document.dispatchEvent(new Event("themed"));
  if (name === "times") showTimes(value);
}

function showTimes(how = kept("times")) {
  document.querySelectorAll("time[datetime]").forEach((time) => {
    const at = new Date(time.dateTime);
    if (time.dataset.clock) return (time.textContent = clock(at, time.dataset.clock, how));
    time.dataset.relative ??= time.textContent;
    if (how === "utc") time.textContent = `${at.toISOString().slice(0, 19).replace("T", " ")}Z`;
    else if (how === "local") time.textContent = at.toLocaleString(undefined, { dateStyle: "short", timeStyle: "medium" });
    else time.textContent = time.dataset.relative;
  });
}

// A moment on an axis: by the clock of this machine, unless UTC was chosen.
function clock(at, part, how) {
  const zone = how === "utc" ? { timeZone: "UTC" } : {};
  if (part === "day") return at.toLocaleDateString(undefined, { ...zone, month: "short", day: "numeric" });
  return at.toLocaleTimeString(undefined, { ...zone, hour: "2-digit", minute: "2-digit", hour12: false });
}

function setUpDisplay() {
  document.querySelectorAll("#display input").forEach((input) => {
    input.checked = input.value === kept(input.name);
    input.addEventListener("change", () => choose(input.name, input.value));
  });
  document.getElementById("zone").textContent = `Local is ${Intl.DateTimeFormat().resolvedOptions().timeZone}`;
}

// Keyboard: one letter, or `g` and one

let chord = 0;

// Whether `g` was pressed just now: the next letter leads to a place.
function isChordOpen() {
  return Date.now() - chord < CHORD_MS;
}

function press(event) {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  const target = event.composedPath()[0]; // also within <json-view>
  const typing = target.closest("input:not([type=checkbox], [type=radio]), textarea, select, [contenteditable]");
  if (typing) return event.key === "Escape" ? typing.blur() : undefined;
  const isChord = isChordOpen();
  chord = event.key === "g" ? Date.now() : 0;
  if (isChord && event.key !== "g") {
    const place = [...document.querySelectorAll("#places a")].find((link) => link.dataset.key === event.key);
    if (place) return place.click();
  }
  const act = KEYS[event.key];
  if (act && act() !== false) event.preventDefault();
}

const KEYS = {
  "/": () => document.getElementById("search").select() ?? document.getElementById("search").focus(),
  "?": () => document.getElementById("shortcuts").togglePopover(),
  d: () => document.getElementById("display").togglePopover(),
  j: () => step(1),
  k: () => step(-1),
  o: () => document.activeElement.matches(ROW) && document.activeElement.click(),
  x: () => tick(),
  "[": () => follow("prev"),
  "]": () => follow("next"),
};

function rows() {
  return [...document.querySelectorAll("main tbody tr")].map((row) => row.querySelector("a.row, a[href]")).filter(Boolean);
}

function step(by) {
  const links = rows();
  if (!links.length) return false;
  const at = links.findIndex((link) => link.closest("tr") === document.activeElement.closest("tr"));
  const next = links[at < 0 ? 0 : Math.min(Math.max(at + by, 0), links.length - 1)];
  next.focus();
  next.scrollIntoView({ block: "nearest" });
}

function tick() {
  const box = document.activeElement.closest("tr")?.querySelector("input[type=checkbox]");
  if (!box) return false;
  box.click();
}

function follow(rel) {
  const link = document.querySelector(`main a[rel~=${rel}]`);
  if (!link) return false;
  link.click();
}

// Copy, and questions

async function put(text) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = document.body.appendChild(document.createElement("textarea")); // plain http has no clipboard
    area.value = text;
    area.select();
    document.execCommand("copy");
    area.remove();
  }
}

async function copy(button) {
  const { copy, copyUrl } = button.dataset;
  await put(copyUrl ? await (await fetch(copyUrl)).text() : document.getElementById(copy).textContent);
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

function ask(event) {
  const question = event.submitter?.dataset.confirm || event.target.dataset.confirm;
  if (event.target.dataset.sent || (question && !confirm(question))) return event.preventDefault();
  if (event.target.method !== "post") return;
  event.target.dataset.sent = "yes"; // a double click is one request
  setTimeout(() => delete event.target.dataset.sent, ONE_REQUEST_MS);
}

function revive() {
  document.querySelectorAll("[data-copy], [data-copy-url], [data-scripted]").forEach((each) => (each.hidden = false));
  document.querySelectorAll("[data-submit-on-change] button").forEach((button) => (button.hidden = true));
  showTimes();
}

document.addEventListener("click", (event) => {
  const button = event.target.closest("[data-copy], [data-copy-url]");
  if (button) copy(button);
});
document.addEventListener("submit", ask);
document.addEventListener("change", (event) => event.target.closest("[data-submit-on-change]")?.requestSubmit());
document.addEventListener("keydown", press);
document.addEventListener("fresh", revive); // live.js has changed the page
setUpDisplay();
revive();

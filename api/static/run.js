// The page of a run: clocks that go on, its keys, children that are unfolded, copies as code.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];
let ahead = 0; // how far the clock of this machine is before that of the server, in ms

function took(seconds) {
  if (seconds < 60) return `${Math.max(0, Math.floor(seconds))} s`;
  const place = UNITS.findIndex(([, size]) => seconds >= size);
  const [[large, size], [small, part]] = [UNITS[place], UNITS[place + 1]];
  const rest = Math.floor((seconds % size) / part);
  return `${Math.floor(seconds / size)} ${large}${rest ? ` ${rest} ${small}` : ""}`;
}

function setClock() {
  const now = document.getElementById("stream")?.dataset.now;
  if (now) ahead = Date.now() - Date.parse(now);
}

function tick() {
  const now = Date.now() - ahead;
  document.querySelectorAll("main [data-since]").forEach((each) => {
    each.textContent = took((now - Date.parse(each.dataset.since)) / 1000);
  });
  document.querySelectorAll("main [data-until]").forEach((each) => {
    const left = (Date.parse(each.dataset.until) - now) / 1000;
    each.textContent = left > 0 ? `in ${took(left)}` : "due now";
  });
}

// Rows of steps: arrows walk and fold them, Enter opens one

function rows() {
  return [...document.querySelectorAll("main [data-row]")].filter((row) => row.checkVisibility());
}

function handle(row) {
  return row.matches("summary") && !row.querySelector("a.key") ? row : row.querySelector("a.key");
}

function walk(by) {
  const all = rows();
  const at = all.indexOf(document.activeElement.closest("[data-row]"));
  const next = all[at < 0 ? 0 : Math.min(Math.max(at + by, 0), all.length - 1)];
  if (!next) return false;
  handle(next).focus();
  next.scrollIntoView({ block: "nearest" });
}

function fold(isOpen) {
  const row = document.activeElement.closest("[data-row]");
  const own = row?.matches("summary") ? row.parentElement : row?.parentElement.querySelector(":scope > details.unfold");
  const around = row?.closest("details.attempt, details.unfold");
  const folded = own && own.open !== isOpen ? own : isOpen ? null : around?.open && around !== own ? around : null;
  if (!folded) return false;
  folded.open = isOpen;
  if (!isOpen) handle(folded.matches(".unfold") ? folded.previousElementSibling : folded.querySelector("summary")).focus();
}

function press(id) {
  const found = document.getElementById(id);
  if (!found) return false;
  found.click();
}

// By its button a run that has ended is replayed at once; a letter may be pressed by mistake.
function replay() {
  const isAsked = document.getElementById("replay")?.form.dataset.confirm;
  if (isAsked || confirm("Start a new run with the same payload?")) press("replay");
}

const ACTS = {
  ArrowDown: () => walk(1),
  ArrowUp: () => walk(-1),
  j: () => walk(1),
  k: () => walk(-1),
  ArrowRight: () => fold(true),
  ArrowLeft: () => fold(false),
  Escape: () => press("close-inspector"),
  f: () => press("only-failed"),
  r: () => (document.getElementById("retry") ? press("retry") : replay()),
  c: () => press("cancel"),
};
const ON_ROWS = ["ArrowDown", "ArrowUp", "ArrowRight", "ArrowLeft"]; // elsewhere they scroll

document.addEventListener(
  "keydown",
  (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || document.querySelector(":popover-open")) return;
    const target = event.composedPath()[0];
    if (target.closest("input, textarea, select, [role=tree]") || isChordOpen()) return;
    if (ON_ROWS.includes(event.key) && !target.closest("[data-row]")) return;
    const act = ACTS[event.key];
    if (!act || act() === false) return;
    event.preventDefault();
    event.stopImmediatePropagation();
  },
  true,
);

// A click anywhere on a row is one on its name.
document.addEventListener("click", (event) => {
  const row = event.target.closest?.("[data-row]");
  if (!row || row.matches("summary") || event.target.closest("a, button") || !document.getSelection().isCollapsed) return;
  row.querySelector("a.key")?.click();
});

// The inspector opens beside its row, or on a narrow screen below: there it is shown.
document.addEventListener("moved", () => {
  const inspector = document.getElementById("inspector");
  if (!inspector) return;
  const box = inspector.getBoundingClientRect();
  if (box.top > innerHeight - 120 || box.bottom < 120) inspector.scrollIntoView({ block: "start" });
});

// What is unfolded is fetched again with the page.
document.addEventListener("fresh", () => {
  setClock();
  tick();
  document.querySelectorAll("details.unfold[open]").forEach((each) => htmx.trigger(each, "again"));
});

setClock();
tick();
setInterval(tick, 1000);

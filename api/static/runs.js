// The list of runs: rows are picked, and the time strip is drawn over to narrow the list to that span.
"use strict";

// Picked rows: the buttons mean those, not all that match

function boxes() {
  return [...document.querySelectorAll(".runs tbody .pick input")];
}

function showPicked() {
  const chosen = document.getElementById("chosen");
  const all = document.getElementById("pick-all");
  if (!chosen || !all) return; // no run is like this, or nothing may be moved
  const picked = boxes().filter((box) => box.checked).length;
  chosen.textContent = picked ? `${picked} selected` : chosen.dataset.all;
  document.querySelectorAll(".listing .bar .count").forEach((count) => (count.hidden = picked > 0));
  all.checked = picked > 0 && picked === boxes().length;
  all.indeterminate = picked > 0 && !all.checked;
}

document.addEventListener("change", (event) => {
  if (event.target.id === "pick-all") boxes().forEach((box) => (box.checked = event.target.checked));
  if (event.target.closest(".listing")) showPicked();
});
document.addEventListener("fresh", showPicked);

// The brush: press, draw, let go; or arrows to move, with Shift to draw, and Enter

let from = null;
let dragged = false;

function bars() {
  return [...document.querySelectorAll("#strip a")];
}

function under(event) {
  const link = event.target.closest?.("#strip a");
  if (link) return link;
  const svg = document.querySelector("#strip svg").getBoundingClientRect();
  const all = bars();
  const place = Math.floor(((event.clientX - svg.left) / svg.width) * all.length);
  return all[Math.min(Math.max(place, 0), all.length - 1)];
}

function brush(one, other) {
  const all = bars();
  const [low, high] = [all.indexOf(one), all.indexOf(other)].sort((a, b) => a - b);
  all.forEach((bar, place) => bar.classList.toggle("brushed", place >= low && place <= high));
  return [all[low], all[high]];
}

function narrow(one, other) {
  const [first, last] = brush(one, other);
  const target = new URL(first.getAttribute("href"), location.href);
  const until = new URL(last.getAttribute("href"), location.href).searchParams.get("q").match(/\.\.(\S+)$/)[1];
  target.searchParams.set("q", target.searchParams.get("q").replace(/\.\.(\S+)$/, `..${until}`));
  location.assign(target);
}

document.addEventListener("pointerdown", (event) => {
  if (event.button || !event.target.closest("#strip svg")) return;
  from = under(event);
  dragged = false;
});
document.addEventListener("pointermove", (event) => {
  if (!from) return;
  const here = under(event);
  dragged ||= here !== from;
  if (dragged) brush(from, here);
});
document.addEventListener("pointerup", (event) => {
  const first = from;
  from = null;
  if (first && dragged) narrow(first, under(event));
});
document.addEventListener("dragstart", (event) => event.target.closest?.("#strip") && event.preventDefault());
document.addEventListener("click", (event) => {
  if (dragged && event.target.closest("#strip a")) event.preventDefault(); // the brush leads elsewhere
});
document.addEventListener("keydown", (event) => {
  const bar = event.target.closest?.("#strip a");
  const by = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!bar) return;
  const all = bars();
  if (by) {
    event.preventDefault();
    const next = all[Math.min(Math.max(all.indexOf(bar) + by, 0), all.length - 1)];
    bar.tabIndex = -1;
    next.tabIndex = 0;
    next.focus();
    if (event.shiftKey) brush((from ??= bar), next);
    else all.forEach((each) => each.classList.remove("brushed")), (from = null);
  } else if (event.key === "Enter" && from) {
    event.preventDefault();
    narrow(from, bar);
  }
});

showPicked();

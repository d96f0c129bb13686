// Draws the charts of a page from the table that stands beside them, which is their source and their twin.
"use strict";

const drawn = new Map();

function colour(name) {
  const probe = document.body.appendChild(document.createElement("i"));
  probe.className = name;
  probe.hidden = true;
  const found = getComputedStyle(probe).getPropertyValue("--tone") || name;
  probe.remove();
  const paint = document.createElement("canvas").getContext("2d");
  const shade = document.body.appendChild(document.createElement("b"));
  shade.style.color = found; // by the object model, which the Content-Security-Policy allows
  const resolved = getComputedStyle(shade).color;
  shade.remove();
  paint.fillStyle = resolved;
  return paint.fillStyle;
}

function read() {
  const rows = [...document.querySelectorAll("#twin tbody tr")].map((row) => row.dataset);
  const number = (text) => (text === "" ? null : Number(text));
  return {
    at: rows.map((row) => Number(row.at)),
    ended: rows.map((row) => Number(row.ended)),
    failed: rows.map((row) => Number(row.failed)),
    p50: rows.map((row) => number(row.p50)),
    p95: rows.map((row) => number(row.p95)),
  };
}

const MARKS = [ // seconds that may be between two marks of an axis: what a clock has
  0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200,
  14400, 21600, 43200, 86400, 172800, 604800,
];

const COUNTS = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1e3, 2e3, 5e3, 1e4, 2e4, 5e4, 1e5, 2e5, 5e5, 1e6];

function axes(form, incrs) {
  const base = { stroke: colour("var(--muted)"), grid: { stroke: colour("var(--line)"), width: 1 }, ticks: { show: false }, font: "11px ui-sans-serif, system-ui, sans-serif" };
  const utc = localStorage.getItem("celeriac-times") === "utc" ? { timeZone: "UTC" } : {};
  const when = (seconds, isLong) =>
    new Date(seconds * 1000).toLocaleString(undefined, isLong ? { ...utc, weekday: "short", day: "numeric" } : { ...utc, hour: "2-digit", minute: "2-digit", hour12: false });
  const isLong = Number(document.getElementById("charts").dataset.seconds) >= 3600;
  return [
    { ...base, space: 64, size: 28, grid: { show: false }, values: (_, ticks) => ticks.map((tick) => when(tick, isLong)) },
    { ...base, size: 48, values: (_, ticks) => ticks.map(form), ...(incrs && { incrs }) },
  ];
}

function took(seconds) {
  if (seconds == null) return "";
  if (seconds === 0) return "0";
  if (seconds < 1) return `${+(seconds * 1000).toPrecision(3)} ms`;
  if (seconds < 120) return `${+seconds.toPrecision(3)} s`;
  return seconds < 7200 ? `${+(seconds / 60).toPrecision(3)} min` : `${+(seconds / 3600).toPrecision(3)} h`;
}

function draw(id, data, series, form, incrs) {
  const place = document.getElementById(id);
  if (!place) return;
  const size = { width: place.clientWidth, height: place.clientHeight };
  const chart = new uPlot(
    { ...size, series: [{}, ...series], axes: axes(form, incrs), legend: { show: false }, cursor: { y: false, points: { size: 6 } }, scales: { y: { range: (_, __, most) => [0, Math.max(most * 1.08, 1e-3)] } }, padding: [8, 22, 0, 0] },
    data,
    place,
  );
  place.setAttribute("role", "img");
  place.setAttribute("aria-label", "A chart: the same stands in the table below");
  drawn.set(id, chart);
}

function drawAll() {
  drawn.forEach((chart) => chart.destroy());
  drawn.clear();
  if (!document.getElementById("charts")) return;
  const data = read();
  const bars = uPlot.paths.bars({ size: [0.8, 40], radius: 0.15 });
  const bar = (name, fade) => ({ paths: bars, points: { show: false }, fill: colour(name) + fade, width: 0 });
  const line = (name) => ({ stroke: colour(name), width: 1.8, points: { show: data.at.length < 2 }, spanGaps: true });
  draw("chart-ended", [data.at, data.ended, data.failed], [bar("completed", "8c"), bar("failed", "")], (count) => count.toLocaleString(), COUNTS);
  draw("chart-took", [data.at, data.p50, data.p95], [line("running"), line("late")], took, MARKS);
}

function refill() {
  const data = read();
  drawn.get("chart-ended")?.setData([data.at, data.ended, data.failed]);
  drawn.get("chart-took")?.setData([data.at, data.p50, data.p95]);
}

const twin = document.getElementById("twin");
if (twin) twin.open = false;
drawAll();
document.addEventListener("fresh", refill);
document.addEventListener("themed", drawAll);
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
let resized = 0;
addEventListener("resize", () => {
  clearTimeout(resized);
  resized = setTimeout(drawAll, 120);
});

// Keeps the page fresh: fetches the same URL every two seconds, and where it changed patches the page in place, so that
// what has the focus, is open or is scrolled stays so. Without JavaScript the page is whole, only older. It pauses while
// the tab is hidden, text is selected, or something is typed or ticked; and for good where the page shows what was
// entered and cannot be (data-still).
"use strict";

const EVERY_MS = 2000;
const light = document.getElementById("live");
let shown = document.getElementById("main").innerHTML;

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

async function refresh() {
  if (document.hidden || isBusy()) return tell("paused");
  try {
    const answer = await fetch(location.href, { headers: { Accept: "text/html" }, cache: "no-store" });
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
    const main = fresh.getElementById("main");
    if (!main || isBusy()) return tell("paused");
    if (main.innerHTML !== shown) {
      shown = main.innerHTML;
      await htmx.swap({ text: shown, target: "#main", swap: "innerMorph", sourceElement: document.body });
      document.title = fresh.title;
      document.dispatchEvent(new Event("fresh"));
    }
    tell(answer.ok ? "live" : "waiting");
  } catch {
    tell("offline");
  }
}

document.addEventListener("visibilitychange", () => !document.hidden && refresh());

tell("live");
(async () => {
  for (;;) {
    await new Promise((resolve) => setTimeout(resolve, EVERY_MS));
    await refresh();
  }
})();

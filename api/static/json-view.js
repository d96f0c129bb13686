// <json-view><pre>indented JSON</pre></json-view>: the same text as a tree that can be folded, searched and copied from.
// It reads lines and never numbers, so one beyond 2^53 stays what it is. The text itself stays in the page, where a patch
// of it is seen and shown; without JavaScript it is all there is.
const KEY = /^ *("(?:[^"\\]|\\.)*"): /;
const PLAIN = /^[A-Za-z_$][\w$]*$/;
const OPENING = /[{[]$/;
const FOLDED_FROM = 300; // lines from which a document comes folded, but for its first level

const SHEET = new CSSStyleSheet(); // one for all of them
fetch(new URL("json-view.css", import.meta.url))
  .then((answer) => answer.text())
  .then((text) => SHEET.replace(text));

class JsonView extends HTMLElement {
  nodes = [];

  connectedCallback() {
    if (this.shadowRoot) return;
    const root = this.attachShadow({ mode: "open" });
    root.adoptedStyleSheets = [SHEET];
    root.append(this.bar(), (this.tree = this.box()));
    new MutationObserver(() => this.draw()).observe(this, { childList: true, characterData: true, subtree: true });
    const watcher = new IntersectionObserver(
      (seen) => {
        if (!seen.some((each) => each.isIntersecting)) return;
        watcher.disconnect(); // nothing is drawn before it is about to be seen
        this.isSeen = true;
        this.draw();
      },
      { rootMargin: "800px" },
    );
    watcher.observe(this);
  }

  bar() {
    const bar = document.createElement("div");
    bar.className = "bar";
    this.search = document.createElement("input");
    Object.assign(this.search, { type: "search", placeholder: "Find", autocomplete: "off", spellcheck: false });
    this.search.setAttribute("aria-label", "Find in this document");
    this.search.addEventListener("input", () => this.find());
    this.found = document.createElement("span");
    this.found.className = "found";
    this.path = document.createElement("code");
    this.path.className = "path";
    this.path.textContent = "$";
    bar.append(this.search, this.found, this.path, this.button("Copy path", () => this.path.textContent), this.button("Copy", () => this.value()));
    return bar;
  }

  button(word, text) {
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = word;
    button.addEventListener("click", async () => {
      await put(text());
      button.textContent = "Copied";
      setTimeout(() => (button.textContent = word), 1500);
    });
    return button;
  }

  box() {
    const box = document.createElement("div");
    box.className = "tree";
    box.setAttribute("role", "tree");
    box.setAttribute("aria-label", "JSON");
    box.addEventListener("click", (event) => this.pick(event.target.closest(".line"), event.target.closest(".fold") !== null));
    box.addEventListener("keydown", (event) => this.press(event));
    return box;
  }

  // Lines become nodes: a line that ends in a bracket is folded with what is indented below it.
  draw() {
    const text = this.querySelector("pre")?.textContent ?? "";
    if (!this.isSeen || text === this.drawn) return;
    const folded = this.drawn === undefined ? null : this.folded();
    this.drawn = text;
    this.nodes = read(text.split("\n"));
    const isLong = this.nodes.length > FOLDED_FROM;
    for (const node of this.nodes) node.isFolded = folded ? folded.has(node.path) : isLong && node.depth > 0 && node.until !== undefined;
    this.tree.replaceChildren(...this.nodes.map((node) => (node.element = line(node))));
    this.show();
    this.choose(this.nodes.find((node) => node.path === this.chosen?.path) ?? this.nodes[0], false);
    if (this.search.value) this.find();
  }

  folded() {
    return new Set(this.nodes.filter((node) => node.isFolded).map((node) => node.path));
  }

  show() {
    let hiddenUntil = -1;
    this.nodes.forEach((node, place) => {
      node.element.hidden = place <= hiddenUntil;
      if (node.until === undefined) return;
      node.element.setAttribute("aria-expanded", String(!node.isFolded));
      if (node.isFolded) hiddenUntil = Math.max(hiddenUntil, node.until);
    });
  }

  pick(element, isFold) {
    const node = this.nodes.find((each) => each.element === element);
    if (!node || node.isEnd) return;
    if (isFold || node === this.chosen) this.toggle(node);
    this.choose(node);
  }

  toggle(node, isFolded = !node.isFolded) {
    if (node.until === undefined) return;
    node.isFolded = isFolded;
    this.show();
  }

  choose(node, isFocused = true) {
    if (!node) return;
    if (this.chosen?.element) this.chosen.element.tabIndex = -1;
    this.chosen?.element?.removeAttribute("aria-selected");
    this.chosen = node;
    node.element.tabIndex = 0;
    node.element.setAttribute("aria-selected", "true");
    this.path.textContent = node.path;
    if (isFocused) node.element.focus();
  }

  press(event) {
    const shown = this.nodes.filter((node) => !node.element.hidden && !node.isEnd);
    const at = shown.indexOf(this.chosen);
    const parent = () => shown.slice(0, at).findLast((node) => node.depth < this.chosen.depth);
    const acts = {
      ArrowDown: () => this.choose(shown[at + 1]),
      ArrowUp: () => this.choose(shown[at - 1]),
      Home: () => this.choose(shown[0]),
      End: () => this.choose(shown.at(-1)),
      ArrowRight: () => (this.chosen.isFolded ? this.toggle(this.chosen, false) : this.choose(shown[at + 1])),
      ArrowLeft: () => (this.chosen.until !== undefined && !this.chosen.isFolded ? this.toggle(this.chosen, true) : this.choose(parent())),
      Enter: () => this.toggle(this.chosen),
      " ": () => this.toggle(this.chosen),
    };
    if (!acts[event.key]) return;
    event.preventDefault();
    event.stopPropagation();
    acts[event.key]();
  }

  find() {
    const wanted = this.search.value.toLowerCase();
    const hits = wanted ? this.nodes.filter((node) => node.text.toLowerCase().includes(wanted)) : [];
    const isHit = new Set(hits);
    this.nodes.forEach((node) => node.element.classList.toggle("hit", isHit.has(node)));
    this.found.textContent = wanted ? `${hits.length} found` : "";
    this.unfold(isHit);
    this.show();
    hits[0]?.element.scrollIntoView({ block: "nearest" });
    this.choose(hits.find((node) => !node.isEnd), false);
  }

  // What is around these nodes: counted from the start, so that it costs one look at each.
  unfold(wanted) {
    const before = [0];
    for (const node of this.nodes) before.push(before.at(-1) + wanted.has(node));
    this.nodes.forEach((node, place) => {
      if (node.until !== undefined && before[node.until + 1] > before[place + 1]) node.isFolded = false;
    });
  }

  // The text of what is chosen, without its key and what follows it.
  value() {
    const from = this.nodes.indexOf(this.chosen);
    const lines = this.nodes.slice(from, (this.chosen.until ?? from) + 1).map((node) => node.text.slice(2 * this.chosen.depth));
    lines[0] = lines[0].replace(KEY, "");
    lines.push(lines.pop().replace(/,$/, ""));
    return lines.join("\n");
  }
}

// For each line its depth, its path, and for one that opens a bracket the line `until` which it goes.
function read(lines) {
  const nodes = [];
  const open = []; // nodes whose bracket is open
  for (const text of lines) {
    const depth = text.search(/[^ ]/) / 2;
    while (open.length && open.at(-1).depth >= depth) open.pop().until = nodes.length;
    const above = nodes.length && depth > 0 ? open.at(-1) : null;
    const isEnd = /^ *[\]}],?$/.test(text) && nodes.length > 0;
    const key = KEY.exec(text)?.[1];
    const node = { text, depth, key, isEnd, path: isEnd ? pathOf(nodes, depth) : step(above, key) };
    if (above && !isEnd && !key) above.count = (above.count ?? 0) + 1;
    nodes.push(node);
    if (OPENING.test(text)) open.push(node);
  }
  for (const node of open) node.until = nodes.length - 1;
  return nodes;
}

function step(above, key) {
  if (!above) return "$";
  if (!key) return `${above.path}[${above.count ?? 0}]`;
  const name = JSON.parse(key);
  return PLAIN.test(name) ? `${above.path}.${name}` : `${above.path}[${key}]`;
}

function pathOf(nodes, depth) {
  return nodes.findLast((node) => node.depth === depth && !node.isEnd)?.path ?? "$";
}

function line({ text, depth, key, until, isEnd }) {
  const line = document.createElement("div");
  line.className = "line";
  line.setAttribute("role", isEnd ? "none" : "treeitem");
  if (!isEnd) {
    line.tabIndex = -1;
    line.setAttribute("aria-level", String(depth + 1));
  }
  const fold = document.createElement("span");
  fold.className = until === undefined ? "blank" : "fold";
  fold.setAttribute("aria-hidden", "true");
  const indent = document.createElement("span");
  indent.textContent = " ".repeat(2 * depth);
  line.append(fold, indent);
  let rest = text.slice(2 * depth);
  if (key) {
    const name = document.createElement("span");
    name.className = "name";
    name.textContent = key;
    line.append(name, ": ");
    rest = rest.slice(key.length + 2);
  }
  const value = document.createElement("span");
  value.className = kind(rest);
  value.textContent = rest;
  line.append(value);
  return line;
}

function kind(text) {
  if (text.startsWith('"***"')) return "hidden-value";
  if (text.startsWith('"')) return "string";
  if (/^-?\d/.test(text)) return "number";
  return /^(true|false|null)/.test(text) ? "word" : "bracket";
}

customElements.define("json-view", JsonView);

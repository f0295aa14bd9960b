// Figures: unpack compressed blocks, draw Vega-Lite specifications, and save what is drawn as CSV, SVG and PNG.
// Colours are custom properties of the style sheet (var(--c1)), so that a drawn chart follows light, dark and print.

const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

function once(make) {
  let made;
  return () => (made ??= make());
}

async function unpacked(id) {
  const letters = atob(document.getElementById(id).textContent.trim());
  const bytes = new Uint8Array(letters.length);
  for (let i = 0; i < letters.length; i++) bytes[i] = letters.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip")));
}

// Vega, Vega-Lite and Vega-Embed are unpacked when the first chart is drawn.
const library = once(async () => {
  const source = await (await unpacked("vega")).text();
  const address = URL.createObjectURL(new Blob([source], { type: "text/javascript" }));
  await new Promise((loaded, failed) => {
    const script = document.createElement("script");
    Object.assign(script, { type: "module", src: address, onload: loaded, onerror: failed });
    document.head.append(script);
  });
  URL.revokeObjectURL(address);
});

const VEGA_CONFIG = {
  background: null,
  font: "system-ui, -apple-system, 'Segoe UI', Roboto, 'Liberation Sans', Arial, sans-serif",
  view: { stroke: null },
  axis: {
    labelColor: "var(--ink)", titleColor: "var(--soft)", gridColor: "var(--line)", domainColor: "var(--line)",
    tickColor: "var(--line)", labelFontSize: 13, titleFontSize: 13, titleFontWeight: 400,
  },
  legend: { labelColor: "var(--ink)", titleColor: "var(--soft)", labelFontSize: 13, titleFontSize: 13, titleFontWeight: 400 },
};

async function draw(host, spec) {
  await library();
  host.view?.finalize();
  const options = { mode: "vega-lite", config: VEGA_CONFIG, renderer: "svg", actions: false, logLevel: 1, tooltip: { theme: "custom" } };
  host.view = (await vegaEmbed(host, spec, options)).view;
  const drawn = host.querySelector("svg");
  drawn.setAttribute("aria-hidden", "true"); // the host has the text alternative
  drawn.setAttribute("focusable", "false");
  drawn.prepend(hatching());
}

const svg = (name, attributes = {}) => {
  const made = document.createElementNS(document.querySelector("#hatch-source").namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
};

function hatching() {
  const defs = svg("defs");
  const pattern = svg("pattern", { id: "hatch", width: 5, height: 5, patternUnits: "userSpaceOnUse", patternTransform: "rotate(45)" });
  pattern.append(svg("line", { x1: 0, y1: 0, x2: 0, y2: 5, stroke: "var(--page)", "stroke-width": 3 }));
  defs.append(pattern);
  return defs;
}

// --- Saving ---------------------------------------------------------------------------------------------------------

const INLINED = [
  "fill", "fill-opacity", "stroke", "stroke-width", "stroke-dasharray", "stroke-linecap", "stroke-opacity", "opacity",
  "font-family", "font-size", "font-weight", "text-anchor",
];

/** The drawing alone, in light colours, with a title and its legend above and its source below. */
function standalone(drawn, { title, source, legend }) {
  document.documentElement.classList.add("as-light");
  const { width, height } = drawn.getBoundingClientRect();
  const whole = svg("svg", { "font-family": VEGA_CONFIG.font });
  const paper = svg("rect", { width: "100%", height: "100%", fill: css("--page") });
  whole.append(paper);
  const line = (text, attributes) => {
    const made = svg("text", { x: 12, ...attributes });
    made.textContent = text;
    whole.append(made);
  };
  const perLine = Math.max(24, Math.floor(width / 8));
  let y = 24;
  for (const text of wrapped(title, perLine)) {
    line(text, { y, "font-size": 15, "font-weight": 600, fill: css("--ink") });
    y += 20;
  }
  let x = 12;
  for (const entry of legend?.children ?? []) {
    const text = entry.textContent.trim();
    const wide = 44 + 6.9 * text.length;
    if (x > 12 && x + wide > width) [x, y] = [12, y + 20];
    const symbol = inlined(entry.querySelector("svg"));
    for (const [name, value] of [["x", x], ["y", y - 12], ["width", 24], ["height", 20]]) symbol.setAttribute(name, value);
    whole.append(symbol);
    line(text, { x: x + 28, y: y + 2, "font-size": 12, fill: css("--ink") });
    x += wide;
  }
  if (legend) y += 22;
  const copy = inlined(drawn);
  for (const [name, value] of [["x", 12], ["y", y - 12], ["width", width], ["height", height]]) copy.setAttribute(name, value);
  whole.append(copy);
  y += height + 8;
  for (const text of wrapped(source, Math.floor(perLine * 1.2))) {
    line(text, { y, "font-size": 12, fill: css("--soft") });
    y += 16;
  }
  whole.setAttribute("width", width + 24);
  whole.setAttribute("height", y);
  document.documentElement.classList.remove("as-light");
  return whole;
}

/** A copy with the styles that the page gives each element. */
function inlined(drawn) {
  const copy = drawn.cloneNode(true);
  const [ours, theirs] = [drawn, copy].map((root) => [root, ...root.querySelectorAll("*")]);
  ours.forEach((element, i) => {
    const style = getComputedStyle(element);
    theirs[i].removeAttribute("class");
    for (const name of INLINED) {
      const value = style.getPropertyValue(name);
      if (value) theirs[i].setAttribute(name, value);
    }
  });
  return copy;
}

function wrapped(text, length) {
  const lines = [""];
  for (const word of text.split(/\s+/)) {
    if (lines.at(-1) && lines.at(-1).length + word.length >= length) lines.push("");
    lines[lines.length - 1] += (lines.at(-1) ? " " : "") + word;
  }
  return lines;
}

const asText = (drawing) => new XMLSerializer().serializeToString(drawing);

async function asPng(drawing) {
  const image = new Image();
  image.src = `data:image/svg+xml;charset=utf-8,${encodeURIComponent(asText(drawing))}`;
  await image.decode();
  const canvas = document.createElement("canvas");
  canvas.width = 2 * drawing.getAttribute("width");
  canvas.height = 2 * drawing.getAttribute("height");
  canvas.getContext("2d").drawImage(image, 0, 0, canvas.width, canvas.height);
  return new Promise((made) => canvas.toBlob(made, "image/png"));
}

function save(content, name, type) {
  const address = URL.createObjectURL(content instanceof Blob ? content : new Blob([content], { type }));
  const link = Object.assign(document.createElement("a"), { href: address, download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 10_000);
}

// A spreadsheet would run a text that begins with one of = + @ as a formula.
const cell = (value) => {
  const text = value == null ? "" : String(value);
  const safe = typeof value === "string" && /^\s*[=+@\t\r]/.test(text) ? `'${text}` : text;
  return /[",\n\r]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
};
const asCsv = (rows) => `\ufeff${rows.map((row) => row.map(cell).join(",")).join("\r\n")}\r\n`;

function tableRows(table) {
  const text = (element) => (element.dataset.csv ?? element.textContent).replace(/\s+/g, " ").trim();
  let block = "";
  const blocks = table.querySelector("tr.block") !== null;
  const rows = [];
  for (const row of table.rows) {
    if (row.matches(".block")) { block = text(row); continue; }
    const cells = [...row.cells].filter((c) => !c.matches(".chart")).map(text);
    rows.push(blocks ? [row.closest("thead") ? "group" : block, ...cells] : cells);
  }
  return rows;
}

const fileName = (title) => title.toLowerCase().replace(/[^\p{L}\p{N}]+/gu, "-").replace(/^-|-$/g, "").slice(0, 80) || "figure";

/** The buttons below a figure. `of` returns { title, source, rows, drawing, legend } of what is shown now. */
function savingButtons(of, kinds = ["CSV", "SVG", "PNG"]) {
  const bar = document.createElement("div");
  bar.className = "saving";
  const actions = {
    CSV: async ({ title, rows }) => save(asCsv(rows), `${fileName(title)}.csv`, "text/csv;charset=utf-8"),
    SVG: async (it) => save(asText(standalone(it.drawing, it)), `${fileName(it.title)}.svg`, "image/svg+xml"),
    PNG: async (it) => save(await asPng(standalone(it.drawing, it)), `${fileName(it.title)}.png`),
  };
  for (const kind of kinds) {
    const button = Object.assign(document.createElement("button"), { type: "button", textContent: kind });
    button.addEventListener("click", async () => actions[kind](await of()));
    bar.append(button);
    describe(button, of, kind);
  }
  return bar;
}

// Buttons of one name are told apart by the figure that they save.
function describe(button, of, kind) {
  const title = of.title?.();
  if (title) button.setAttribute("aria-label", `${kind}: ${title}`);
}

/** Call `show` once, when the element comes near the window, or before the page is printed. */
function whenSeen(element, show) {
  const run = once(show);
  new IntersectionObserver(([entry], watcher) => {
    if (entry.isIntersecting) { watcher.disconnect(); run(); }
  }, { rootMargin: "400px" }).observe(element);
  return run;
}

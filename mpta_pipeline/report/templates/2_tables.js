// Tables: sorting by a column, saving as CSV; static figures get their buttons; links to views.

const SOURCE = document.querySelector("main").dataset.source;

for (const button of document.querySelectorAll("table.sortable thead button")) {
  button.addEventListener("click", () => {
    const head = button.closest("th");
    const table = head.closest("table");
    const lowFirst = head.dataset.best === "low" || head.dataset.best === "text";
    const before = head.getAttribute("aria-sort");
    const ascending = before === null ? lowFirst : before === "descending";
    table.querySelectorAll("thead [aria-sort]").forEach((other) => other.removeAttribute("aria-sort"));
    head.setAttribute("aria-sort", ascending ? "ascending" : "descending");
    const value = (row) => row.cells[head.cellIndex]?.dataset.value ?? "";
    // Controls have a body of their own, so they are never ranked with the models.
    for (const body of table.tBodies) {
      const rows = [...body.rows].filter((row) => !row.matches(".block"));
      rows.sort((a, b) => {
        const [x, y] = [value(a), value(b)];
        if (x === "" || y === "") return (x === "") - (y === "");
        const order = head.dataset.best === "text" ? x.localeCompare(y) : x - y;
        return ascending ? order : -order;
      });
      body.append(...rows);
    }
  });
}

/** The text of a table's caption or of a figure's title. */
const named = (element) => element?.textContent.replace(/\s+/g, " ").trim() ?? "";

// What is out of sight has a cue: a line above each table that is wider than the page.
const measured = new ResizeObserver((entries) => {
  for (const { target } of entries) {
    const wide = target.scrollWidth > target.clientWidth + 1;
    const cue = target.previousElementSibling?.matches(".cue") ? target.previousElementSibling : null;
    if (!wide) cue?.remove();
    else if (!cue) {
      const line = Object.assign(document.createElement("p"), { className: "cue", textContent: "More columns to the right: scroll the table sideways →" });
      target.before(line);
    }
  }
});

for (const region of document.querySelectorAll(".scroll")) {
  measured.observe(region);
  const table = region.querySelector("table");
  if (!table || region.closest("figure")) continue;
  const title = () => region.getAttribute("aria-label") || named(table.caption);
  region.after(savingButtons(Object.assign(() => ({ title: title(), rows: tableRows(table) }), { title }), ["CSV"]));
}

for (const figure of document.querySelectorAll("figure.chart")) {
  const [drawing, table] = [figure.querySelector(":scope > svg, .drawing > svg"), figure.querySelector("table")];
  const title = () => figure.dataset.title || named(figure.querySelector("figcaption"));
  const of = Object.assign(async () => ({ title: title(), source: SOURCE, rows: table ? tableRows(table) : [], drawing: drawing ?? (await drawnGrid(figure)) }), { title });
  figure.append(savingButtons(of, table ? ["CSV", "SVG", "PNG"] : ["SVG", "PNG"]));
}

// Links to a view have an address that works without scripts; with scripts, they lead to the view.
for (const link of document.querySelectorAll("a[data-view]")) link.setAttribute("href", `#view&${link.dataset.view}`);

/** The heat map as a drawing, made when somebody saves it. */
async function drawnGrid(figure) {
  const table = figure.querySelector("table");
  const columns = [...table.tHead.rows[0].cells].slice(1).map((head) => wrapped(named(head.querySelector("button") ?? head), 24).join("\n"));
  const rows = [...table.tBodies].flatMap((body) => [...body.rows]).filter((row) => !row.matches(".block"));
  const values = rows.flatMap((row) =>
    [...row.cells].slice(1).map((c, i) => ({ model: named(row.cells[0]), column: columns[i], text: c.dataset.text ?? "–", band: c.dataset.band ?? null })),
  );
  const host = document.createElement("div");
  host.className = "offscreen";
  document.body.append(host);
  const y = { field: "model", type: "nominal", sort: rows.map((row) => named(row.cells[0])), title: null, axis: { labelLimit: 420 } };
  const x = { field: "column", type: "nominal", sort: columns, title: null, axis: { orient: "bottom", labelAngle: 0, labelLimit: 200, labelExpr: "split(datum.label, '\\n')" } };
  const bands = [...Array(7).keys()].map(String);
  await draw(host, {
    data: { values },
    width: { step: 176 }, height: { step: 34 },
    encoding: { x, y },
    layer: [
      { mark: { type: "rect", stroke: "var(--page)", strokeWidth: 2 }, encoding: { fill: { condition: { test: "datum.band === null", value: "var(--panel)" }, field: "band", type: "nominal", scale: { domain: bands, range: bands.map((b) => `var(--s${b})`) }, legend: null } } },
      { mark: { type: "text", fontSize: 12, color: "var(--ink)" }, encoding: { text: { field: "text" } } },
    ],
  });
  setTimeout(() => host.remove(), 5_000);
  return host.querySelector("svg");
}

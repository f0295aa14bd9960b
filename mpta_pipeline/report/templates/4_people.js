// People's answers beside the models', for the question and groups that the reader chooses.
(async () => {
  "use strict";
  const source = document.getElementById("people-data");
  const chooser = document.getElementById("people-chooser");
  const target = document.getElementById("people-tables");
  if (!source || typeof DecompressionStream === "undefined") return;
  let cells = null;
  const part = (name) => chooser.querySelector(`[data-part="${name}"]`);
  const load = async () => {
    const bytes = Uint8Array.from(atob(source.textContent.trim()), (c) => c.charCodeAt(0));
    const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
    cells = (await new Response(stream).json()).cells;
  };
  const option = (text, value) => {
    const made = document.createElement("option");
    made.textContent = text;
    made.value = value;
    return made;
  };
  const fill = (select, entries, none) => {
    const kept = select.value;
    select.replaceChildren();
    if (none) select.append(option(none, ""));
    const groups = new Map();
    for (const [value, text, group] of entries) {
      let parent = select;
      if (group) {
        if (!groups.has(group)) {
          const made = document.createElement("optgroup");
          made.label = group;
          groups.set(group, made);
          select.append(made);
        }
        parent = groups.get(group);
      }
      parent.append(option(text, value));
    }
    if ([...select.options].some((o) => o.value === kept)) select.value = kept;
  };
  const element = (tag, text, attributes = {}) => {
    const made = document.createElement(tag);
    if (text !== null) made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  };
  const number = (row, i) => (row ? `${(row[i + 1] / 10).toFixed(1)} %` : "–");
  const table = (cell, item, group) => {
    const name = cell.groups[group].s;
    const scroll = element("div", null, { class: "scroll", role: "group", tabindex: "0", "aria-label": `Answers, ${name}` });
    const made = element("table", null, { class: "bars" });
    made.append(element("caption", `${item.q} ${name}.`));
    const columns = [["People", item.p[group]], ...cell.models.map((m, i) => [m, (item.m[i] || {})[group]])];
    const head = element("tr", null);
    head.append(element("th", "Answer", { scope: "col" }));
    head.append(element("th", "Who (people)", { scope: "col" }), element("th", "Share", { scope: "colgroup", colspan: "2" }));
    const thead = element("thead", null);
    thead.append(head);
    made.append(thead);
    item.o.forEach((answer, i) => {
      const body = element("tbody", null);
      columns.forEach(([who, row], k) => {
        const line = element("tr", null, k ? {} : { class: "people" });
        if (!k) line.append(element("th", answer, { scope: "rowgroup", rowspan: String(columns.length) }));
        line.append(element("td", row ? `${who} (${row[0]})` : who));
        line.append(element("td", number(row, i), { class: "n" }));
        const bar = element("td", null, { class: "bar" });
        if (row) {
          const fill = element("span", null, { class: "fill" });
          fill.style.width = `${row[i + 1] / 10}%`;
          bar.append(fill);
        }
        line.append(bar);
        body.append(line);
      });
      made.append(body);
    });
    scroll.append(made);
    measured.observe(scroll);
    return scroll;
  };
  const draw = () => {
    const cell = cells[Number(part("cell").value)];
    const item = cell.items[Number(part("item").value)];
    const groups = [part("first").value, part("second").value].filter((g) => g !== "").map(Number);
    target.className = "transcripts";
    target.replaceChildren(...[...new Set(groups)].map((g) => table(cell, item, g)));
  };
  const choose = () => {
    const cell = cells[Number(part("cell").value)];
    fill(part("item"), cell.items.map((item, i) => [String(i), item.q, ""]));
    const groups = cell.groups.map((g, i) => [String(i), g.s, i ? g.d : ""]);
    fill(part("first"), groups);
    fill(part("second"), groups, "no second group");
    draw();
  };
  const begin = async () => {
    try {
      await load();
    } catch (failure) {
      target.replaceChildren(element("p", `The table could not be read: ${failure}`));
      return;
    }
    fill(part("cell"), cells.map((cell, i) => [String(i), cell.name, ""]));
    part("cell").addEventListener("change", choose);
    for (const name of ["item", "first", "second"]) part(name).addEventListener("change", draw);
    chooser.hidden = false;
    choose();
  };
  // Read only when the section comes near the screen.
  const watch = new IntersectionObserver((seen) => {
    if (seen.some((s) => s.isIntersecting)) {
      watch.disconnect();
      begin();
    }
  }, { rootMargin: "600px" });
  watch.observe(target);
})();

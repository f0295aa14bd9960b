// The explorer: any metric of any group, models side by side, and a world map. What is shown stands in the address
// (#view&task=…&by=…), so that a view can be linked.

const FIELDS = ["task", "survey", "metric", "what", "condition", "by", "wave", "sort"];
const SHOWN_ROWS = 25; // groups that are drawn before "Show all"
const SHOWN_MODELS = 4;
const SHAPES = ["circle", "square", "triangle-up", "diamond", "cross", "triangle-down"];
const COLOURS = 8;

/** The data block: columns by name, names by code, and the functions that read a row. */
const estimates = once(async () => {
  const data = await (await unpacked("estimates")).json();
  const { columns: c, names, scale } = data;
  const at = (name, i) => (c[name] ? c[name][i] : null);
  const number = (name, i) => (at(name, i) === null ? null : c[name][i] / scale);
  const ends = (base, i, low, high) => [[low, -1], [high, 1]].map(([name, sign]) => {
    const width = number(name, i);
    return width === null || base === null ? null : base + sign * width;
  });
  const row = (i) => {
    const estimate = number("e", i);
    const effect = number("effect", i);
    const [low, high] = ends(estimate, i, "l", "h");
    const [effectLow, effectHigh] = ends(effect, i, "effect_l", "effect_h");
    const flags = c.flags[i];
    const baselines = {};
    for (const name of Object.keys(c)) if (name.startsWith("b_") && c[name][i] !== null) baselines[name.slice(2)] = c[name][i] / scale;
    return {
      model: names.model[c.model[i]], group: c.group[i], estimate, low, high, effect, effectLow, effectHigh,
      gap: number("gap", i), gapQ: number("gap_q", i), effectQ: number("effect_q", i),
      verdict: [null, ...data.verdicts][flags & 3], small: Boolean(flags & 4), weighted: Boolean(flags & 8),
      people: c.people[i], answers: c.answers[i], baselines,
      id: `f_${typeof data.ids === "string" ? data.ids.slice(10 * i, 10 * i + 10) : data.ids[i]}`,
    };
  };
  // Rows are sorted by metric, task, survey and condition: each combination is one range.
  const ranges = new Map();
  for (let i = 0; i < data.rows; i++) {
    const key = `${c.metric[i]} ${c.task[i]} ${c.survey[i]} ${c.condition[i]}`;
    const range = ranges.get(key);
    if (range) range.end = i + 1;
    else ranges.set(key, { metric: c.metric[i], task: c.task[i], survey: c.survey[i], condition: c.condition[i], start: i, end: i + 1 });
  }
  return { ...data, ranges: [...ranges.values()], row };
});

// --- Numbers in words, as in the rest of the page ---------------------------------------------------------------------

const fixed = (value, share) => Math.abs(share ? value * 100 : value).toFixed(share ? 1 : 3);
function asNumber(value, share, signed = false) {
  if (value === null) return "–";
  const text = fixed(value, share);
  const sign = Number(text) === 0 ? "" : value < 0 ? "−" : signed ? "+" : "";
  return `${sign}${text}${share && !signed ? " %" : ""}`;
}
const asInterval = (low, high, share, signed) =>
  low === null || high === null ? "" : `[${[low, high].map((end) => asNumber(end, share, true).replace(signed ? "" : "+", "")).join(", ")}]`;
const asCount = (value) => value.toLocaleString("en").replaceAll(",", "\u202f");
const asQ = (value) => (value === null ? "" : value < 0.001 ? "q < .001" : `q ${value.toFixed(3).replace(/^0/, "")}`);
const counted = (n, one, many) => `${n} ${n === 1 ? one : many}`;
const VERDICTS = { gap: "differs", no_gap: "alike", inconclusive: "unclear" };
const BASELINES = {
  chance: "chance", item_mode: "most frequent answer", group_mode: "most frequent answer in the group",
  ceiling: "best prediction from the traits", sampling_floor: "sampling alone", human: "people's own answers",
};
const DRAWN = { chance: ["stroke", "--chance"], item_mode: ["diamond", "--item"], group_mode: ["triangle-up", "--group"], sampling_floor: ["stroke", "--item"], ceiling: ["triangle-left", "--group"] };

// --- What can be chosen, and what is chosen ---------------------------------------------------------------------------

const inAddress = () => (location.hash.startsWith("#view") ? new URLSearchParams(location.hash.slice(6)) : null);

function settle(data, wanted) {
  const { names } = data;
  const options = {};
  const view = {};
  let ranges = data.ranges;
  const choose = (field, list, preferred) => {
    options[field] = list;
    const keys = list.map((o) => o.key);
    view[field] = keys.includes(wanted[field]) ? wanted[field] : keys.includes(preferred) ? preferred : keys[0];
  };
  for (const field of ["task", "survey", "metric", "condition"]) {
    const used = [...new Set(ranges.map((r) => r[field]))].sort((a, b) => a - b);
    choose(field, used.map((code) => names[field][code]));
    ranges = ranges.filter((r) => names[field][r[field]].key === view[field]);
  }
  const rows = [];
  for (const { start, end } of ranges) for (let i = start; i < end; i++) rows.push(i);
  // Dimensions with `wave` in them give the choice of a wave, and the other dimensions within it.
  const parts = names.dimensions.map((d) => d.key.split("×"));
  const groups = [...new Set(rows.map((i) => data.columns.group[i]))];
  const has = new Set(groups.map((g) => names.group[g][0]));
  const waves = new Set();
  for (const g of groups) {
    const [d, value] = names.group[g];
    const place = parts[d].indexOf("wave");
    if (place >= 0 && parts[d].length > 1) waves.add(value.split("×")[place]);
  }
  choose("wave", [{ key: "", label: "All waves" }, ...[...waves].sort().map((key) => ({ key, label: key }))]);
  const within = (d) => (view.wave ? parts[d].includes("wave") && parts[d].length > 1 : true);
  const dimensions = [...has].sort((a, b) => a - b).filter(within);
  const title = (d) => (view.wave ? parts[d].filter((p) => p !== "wave").map((p) => names.dimensions.find((n) => n.key === p)?.label ?? p).join(" × ") : names.dimensions[d].label);
  const most = dimensions.find((d) => rows.some((i) => names.group[data.columns.group[i]][0] === d && (data.columns.flags[i] & 3) === 1));
  // Whoever looks at women and then chooses a wave looks at women in that wave.
  const sameCut = view.wave ? dimensions.find((d) => parts[d].filter((p) => p !== "wave").join("×") === wanted.by) : undefined;
  choose("by", dimensions.map((d) => ({ key: names.dimensions[d].key, label: d === 0 && names.dimensions[d].key === "all" ? "Everyone, by condition" : capital(title(d)) })),
    names.dimensions[sameCut ?? most ?? dimensions.find((d) => names.dimensions[d].key !== "all")]?.key);
  const effects = data.columns.effect && rows.some((i) => data.columns.effect[i] !== null);
  choose("what", [{ key: "estimate", label: "The estimate" }, ...(effects ? [{ key: "effect", label: "Effect of the persona" }] : [])]);
  choose("sort", [{ key: "gap", label: "Largest gap first" }, { key: "scale", label: "Order of the scale" }, { key: "value", label: "Lowest first" }]);
  // Everyone is one group: its rows are the conditions.
  const everyone = view.by === "all";
  const range = everyone
    ? data.ranges.filter((r) => ["task", "survey", "metric"].every((f) => names[f][r[f]].key === view[f]))
    : ranges;
  const dimension = names.dimensions.findIndex((d) => d.key === view.by);
  const place = parts[dimension]?.indexOf("wave");
  const shown = [];
  for (const r of range) {
    for (let i = r.start; i < r.end; i++) {
      const [d, value, label, extra] = names.group[data.columns.group[i]];
      if (d !== dimension) continue;
      if (view.wave && value.split("×")[place] !== view.wave) continue;
      const row = data.row(i);
      row.key = everyone ? names.condition[r.condition].key : value;
      row.label = capital(everyone ? names.condition[r.condition].label : view.wave ? withoutWave(names, parts[dimension], value, place) ?? label : label);
      row.place = everyone ? r.condition : row.group;
      shown.push(row);
    }
  }
  const models = [...new Map(shown.map((row) => [row.model.key, row.model])).values()].sort((a, b) => names.model.indexOf(a) - names.model.indexOf(b));
  const asked = wanted.models?.split("|").filter((key) => models.some((m) => m.key === key)) ?? [];
  // Controls come last, so they are drawn at first only beside few models.
  view.models = asked.length ? asked : models.slice(0, SHOWN_MODELS).map((m) => m.key);
  options.models = models;
  return { view, options, rows: shown, metric: names.metric.find((m) => m.key === view.metric), everyone };
}

function withoutWave(names, parts, value, place) {
  const rest = (list) => list.filter((_, i) => i !== place).join("×");
  const dimension = names.dimensions.findIndex((d) => d.key === rest(parts));
  return names.group.find(([d, v]) => d === dimension && v === rest(value.split("×")))?.[2];
}

const capital = (text) => text.slice(0, 1).toUpperCase() + text.slice(1);

/** The rows of the chart: those of the chosen models, as { value, low, high }, by group and sorted. */
function arranged({ view, rows, options }) {
  const effect = view.what === "effect";
  const groups = new Map();
  for (const row of rows) {
    if (!view.models.includes(row.model.key)) continue;
    const shown = {
      ...row, value: effect ? row.effect : row.estimate, from: effect ? row.effectLow : row.low, to: effect ? row.effectHigh : row.high,
      differs: effect ? row.effectQ !== null && row.effectQ <= LEVEL : row.verdict === "gap",
      gapSize: effect ? row.effect : row.gap,
    };
    if (!groups.has(row.key)) groups.set(row.key, { key: row.key, label: row.label, place: row.place, rows: [] });
    groups.get(row.key).rows.push(shown);
  }
  const list = [...groups.values()];
  const order = new Map(options.models.map((m, i) => [m.key, i]));
  for (const group of list) {
    group.rows.sort((a, b) => order.get(a.model.key) - order.get(b.model.key));
    group.differs = group.rows.some((row) => row.differs);
    group.gap = Math.max(0, ...group.rows.map((row) => Math.abs(row.gapSize ?? 0)));
    const known = group.rows.map((row) => row.value).filter((v) => v !== null);
    group.value = known.length ? Math.min(...known) : Infinity;
  }
  const by = {
    gap: (a, b) => b.differs - a.differs || b.gap - a.gap || a.place - b.place,
    scale: (a, b) => a.place - b.place,
    value: (a, b) => a.value - b.value || a.place - b.place,
  };
  return list.sort(by[view.sort]);
}

const LEVEL = Number(document.querySelector("main").dataset.level);

// --- Sentences ----------------------------------------------------------------------------------------------------------

const label = (options, view, field) => options[field].find((o) => o.key === view[field])?.label ?? "";

function heading({ view, options, metric, everyone }) {
  const what = view.what === "effect" ? `Effect of the persona on ${metric.label}` : capital(metric.label);
  const by = everyone ? "by condition" : `by ${label(options, view, "by").toLowerCase()}, ${label(options, view, "condition")}`;
  return `${what}, ${by}: ${label(options, view, "task")}, ${label(options, view, "survey")}${view.wave ? `, ${view.wave}` : ""}`;
}

function finding(state, groups) {
  const { metric, view, options } = state;
  const effect = view.what === "effect";
  const sentences = options.models.filter((m) => view.models.includes(m.key)).map((model) => {
    const rows = groups.flatMap((g) => g.rows.filter((row) => row.model === model).map((row) => ({ ...row, label: g.label })));
    const tested = rows.filter((row) => (effect ? row.effectQ !== null : row.verdict !== null));
    const differ = tested.filter((row) => row.differs).sort((a, b) => Math.abs(b.gapSize) - Math.abs(a.gapSize));
    const name = model.label;
    if (!tested.length) {
      const known = rows.filter((row) => row.value !== null);
      if (!known.length) return `${name}: no estimate.`;
      const low = known.reduce((a, b) => (a.value <= b.value ? a : b));
      const high = known.reduce((a, b) => (a.value >= b.value ? a : b));
      return low === high
        ? `${name}: ${asNumber(low.value, metric.share, effect)}.`
        : `${name}: from ${asNumber(low.value, metric.share, effect)} (${low.label}) to ${asNumber(high.value, metric.share, effect)} (${high.label}).`;
    }
    const unit = metric.share ? " points" : "";
    const which = differ.slice(0, 3).map((row) => `${row.label} ${asNumber(row.gapSize, metric.share, true)}${unit}`).join(", ");
    const verb = effect ? ["is changed by the persona", "are changed by the persona"] : ["differs from everyone else", "differ from everyone else"];
    return differ.length
      ? `${name}: ${differ.length} of ${counted(tested.length, "group", "groups")} ${differ.length === 1 ? verb[0] : verb[1]}: ${which}${differ.length > 3 ? " and others" : ""}.`
      : `${name}: ${tested.length === 1 ? "the one group tested is not" : `none of ${tested.length} groups is`} shown to ${effect ? "be changed by the persona" : "differ from everyone else"}.`;
  });
  return sentences;
}

// --- The charts ---------------------------------------------------------------------------------------------------------

function styles(options) {
  const real = options.models.filter((m) => !m.control);
  return options.models.map((m) => {
    const i = m.control ? options.models.indexOf(m) - real.length : real.indexOf(m);
    return m.control
      ? { colour: "var(--chance)", shape: SHAPES[(i + 1) % SHAPES.length] }
      : { colour: `var(--c${(i % COLOURS) + 1})`, shape: SHAPES[Math.floor(i / COLOURS + (i % COLOURS)) % SHAPES.length] };
  });
}

function forestSpec(state, groups, width) {
  const { view, options, metric } = state;
  const factor = metric.share ? 100 : 1;
  const scaled = (value) => (value === null ? null : value * factor);
  const models = options.models.filter((m) => view.models.includes(m.key));
  const look = styles(options);
  const looks = models.map((m) => look[options.models.indexOf(m)]);
  const called = (m) => m.label;
  const values = groups.flatMap((g) => g.rows.filter((row) => row.value !== null).map((row) => ({
    g: g.label, m: called(row.model), v: scaled(row.value), l: scaled(row.from), h: scaled(row.to), d: row.differs, small: row.small && !row.differs,
    tip: `${g.label} · ${row.model.label}: ${asNumber(row.value, metric.share, view.what === "effect")} ${asInterval(row.from, row.to, metric.share, view.what === "effect")} · ${asCount(row.people)} people${row.differs ? " · differs" : ""}`,
  })));
  const marks = view.what === "effect" ? [] : groups.flatMap((g) => g.rows.flatMap((row) => Object.entries(row.baselines)
    .filter(([name]) => name in DRAWN)
    .map(([name, value]) => ({ g: g.label, m: called(row.model), v: scaled(value), b: BASELINES[name] }))));
  const drawnMarks = Object.keys(DRAWN).filter((name) => marks.some((mark) => mark.b === BASELINES[name]));
  const everyone = view.by === "all" || view.what === "effect" ? [] : state.everyoneElse;
  const y = { field: "g", type: "nominal", sort: groups.map((g) => g.label), title: null, axis: { labelLimit: Math.min(280, width * 0.36), ticks: false, domain: false, labelPadding: 8 }, scale: { paddingInner: 0.25, paddingOuter: 0.1 } };
  const yOffset = { field: "m", type: "nominal", sort: models.map(called), scale: { paddingOuter: 0.15 } };
  const colour = { field: "m", type: "nominal", scale: { domain: models.map(called), range: looks.map((l) => l.colour) }, legend: null };
  const x = { field: "v", type: "quantitative", title: axisTitle(metric, view), scale: { zero: false, nice: false, padding: 10 }, axis: { orient: "top", grid: true, tickCount: width < 500 ? 4 : 8 } };
  const zero = view.what === "effect" || metric.better === "nearer to 0" ? [{ data: { values: [{ v: 0 }] }, mark: { type: "rule", color: "var(--faint)" }, encoding: { x: { field: "v", type: "quantitative" } } }] : [];
  return {
    width, autosize: { type: "fit-x", contains: "padding" },
    height: groups.length * Math.max(26, 13 * models.length + 12),
    data: { values },
    layer: [
      { data: { values: groups.filter((g) => g.differs).map((g) => ({ g: g.label })) }, mark: { type: "rect", color: "var(--standout)" }, encoding: { y } },
      ...zero,
      { data: { values: everyone.map((row) => ({ m: called(row.model), v: scaled(row.estimate) })) }, mark: { type: "rule", strokeDash: [5, 4], strokeWidth: 1.3 }, encoding: { x: { field: "v", type: "quantitative" }, color: colour } },
      {
        data: { values: marks }, mark: { type: "point", filled: false, size: 70, strokeWidth: 1.6 },
        encoding: {
          x, y, yOffset,
          shape: { field: "b", type: "nominal", scale: { domain: drawnMarks.map((n) => BASELINES[n]), range: drawnMarks.map((n) => (DRAWN[n][0] === "stroke" ? "M0,-1L0,1" : DRAWN[n][0])) }, legend: null },
          stroke: { field: "b", type: "nominal", scale: { domain: drawnMarks.map((n) => BASELINES[n]), range: drawnMarks.map((n) => `var(${DRAWN[n][1]})`) }, legend: null },
        },
      },
      { mark: { type: "rule", strokeCap: "round" }, encoding: { x: { ...x, field: "l" }, x2: { field: "h" }, y, yOffset, color: colour, strokeWidth: { condition: { test: "datum.d", value: 3.4 }, value: 1.7 }, opacity: { condition: { test: "datum.small", value: 0.55 }, value: 1 } } },
      {
        mark: { type: "point", size: 62, strokeWidth: 1.8, opacity: 1 },
        encoding: {
          x, y, yOffset, color: colour,
          shape: { field: "m", type: "nominal", scale: { domain: models.map(called), range: looks.map((l) => l.shape) }, legend: null },
          fill: { condition: { test: "!datum.d", value: "var(--page)" }, field: "m", type: "nominal", scale: colour.scale, legend: null },
          tooltip: { field: "tip", type: "nominal" },
        },
      },
    ],
    resolve: { scale: { shape: "independent", stroke: "independent", fill: "independent" } },
  };
}

const axisTitle = (metric, view) => (view.what === "effect" ? `Effect of the persona on ${metric.label}${metric.share ? ", points" : ""}` : `${capital(metric.label)}${metric.share ? ", %" : ""}`);

/** Six round classes over the values. */
function classes(values, factor) {
  const [low, high] = [Math.min(...values) * factor, Math.max(...values) * factor];
  const rough = Math.max(high - low, 1e-6) / 6;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 2.5, 5, 10].map((m) => m * power).find((s) => s >= rough * 0.999);
  const first = Math.floor(low / step + 1e-9) * step;
  const n = Math.max(1, Math.ceil((high - first) / step - 1e-9));
  const digits = Math.max(0, -Math.floor(Math.log10(step) + 1e-9)) + (step / power === 2.5 ? 1 : 0);
  const end = (i) => (first + i * step).toFixed(digits).replace("-", "−");
  return { names: [...Array(n).keys()].map((i) => `${end(i)} to ${end(i + 1)}`), of: (v) => Math.min(n - 1, Math.max(0, Math.floor((v * factor - first) / step + 1e-9))) };
}

const uncertain = (row) => row.small || row.verdict === "inconclusive" || (row.verdict === null && row.low === null);

async function mapSpec(state, rows, width) {
  const world = await outlines();
  const { metric } = state;
  const known = rows.filter((row) => row.estimate !== null);
  const scale = classes(known.map((row) => row.estimate), metric.share ? 100 : 1);
  const values = known.map((row) => ({
    id: row.key, band: scale.names[scale.of(row.estimate)], hatched: uncertain(row),
    tip: `${row.label}: ${asNumber(row.estimate, metric.share)} ${asInterval(row.low, row.high, metric.share)} · ${asCount(row.people)} people${row.verdict ? ` · ${VERDICTS[row.verdict]}` : ""}`,
  }));
  const drawn = new Set(world.objects.countries.geometries.map((shape) => shape.id));
  const range = scale.names.map((_, i) => `var(--m${Math.round((6 * (i + 1)) / scale.names.length)})`);
  const shapes = (transform, fill, encoding = {}) => ({
    data: { name: "world", format: { type: "topojson", feature: "countries" } }, transform,
    mark: { type: "geoshape", stroke: transform.length ? "var(--soft)" : "var(--line)", strokeWidth: 0.6, ...fill }, encoding,
  });
  const estimate = [{ lookup: "id", from: { data: { values }, key: "id", fields: ["band", "hatched", "tip"] } }, { filter: "isValid(datum.band)" }];
  const tooltip = { field: "tip", type: "nominal" };
  const legend = { title: axisTitle(metric, { what: "estimate" }), orient: "bottom", columns: width < 500 ? 2 : 0, symbolType: "square", symbolSize: 160, symbolStrokeColor: "var(--soft)", symbolStrokeWidth: 0.7 };
  return {
    missing: known.filter((row) => !drawn.has(row.key)),
    spec: {
      width, height: Math.round(width * 0.48) + (width < 500 ? 120 : 60), autosize: { type: "fit", contains: "padding" },
      datasets: { world },
      projection: { type: "equalEarth" },
      layer: [
        shapes([], { fill: "var(--panel)" }),
        shapes(estimate, {}, { fill: { field: "band", type: "nominal", scale: { domain: scale.names, range }, legend }, tooltip }),
        shapes([...estimate, { filter: "datum.hatched" }], { fill: "url(#hatch)" }, { tooltip }),
      ],
    },
  };
}

const outlines = once(async () => (await unpacked("world")).json());

// --- The elements -------------------------------------------------------------------------------------------------------

const make = (tag, properties = {}, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

function picker(field, title, options, value, changed) {
  const select = make("select", { id: `pick-${field}` });
  for (const option of options) select.append(make("option", { value: option.key, textContent: field === "map" ? option.label : capital(option.label), selected: option.key === value }));
  select.addEventListener("change", () => changed({ [field]: select.value }));
  return make("label", { className: "pick", htmlFor: select.id }, make("span", { textContent: title }), select);
}

function modelPicker(state, changed, open) {
  const { view, options } = state;
  const look = styles(options);
  const box = (model) => {
    const input = make("input", { type: "checkbox", value: model.key, checked: view.models.includes(model.key) });
    input.addEventListener("change", () => {
      const chosen = options.models.map((m) => m.key).filter((key) => (key === model.key ? input.checked : view.models.includes(key)));
      if (chosen.length) changed({ models: chosen.join("|") });
      else input.checked = true; // one model stays
    });
    return make("label", { className: "tick" }, input, symbol(look[options.models.indexOf(model)]), model.key);
  };
  const set = (title, models) => make("fieldset", {}, make("legend", { textContent: title }), ...models.map(box));
  const real = options.models.filter((m) => !m.control);
  const controls = options.models.filter((m) => m.control);
  const sets = [...(real.length ? [set("Models", real)] : []), ...(controls.length ? [set("Controls: simulated, with known answers", controls)] : [])];
  if (options.models.length <= 6) return make("div", { className: "models" }, ...sets);
  const details = make("details", { className: "models", open }, make("summary", { textContent: `${view.models.length} of ${options.models.length} models` }), ...sets);
  return details;
}

const PATHS = {
  circle: "M-5,0a5,5,0,1,0,10,0a5,5,0,1,0,-10,0", square: "M-4.5,-4.5h9v9h-9z", "triangle-up": "M0,-5l5.5,9.5h-11z", diamond: "M0,-6l5,6l-5,6l-5,-6z",
  cross: "M-5,-1.7h3.3v-3.3h3.4v3.3h3.3v3.4h-3.3v3.3h-3.4v-3.3h-3.3z", "triangle-down": "M0,5l5.5,-9.5h-11z", stroke: "M0,-8V8", "triangle-left": "M-5,0l9,-5.5v11z",
};
function symbol({ colour, shape }, filled = true) {
  const drawing = svg("svg", { viewBox: "-12 -10 24 20", width: 24, height: 20, class: "key", "aria-hidden": "true" });
  drawing.append(svg("path", { d: PATHS[shape], fill: filled ? colour : "none", stroke: colour, "stroke-width": 1.7 }));
  return drawing;
}

function key(state, groups) {
  const { view, options } = state;
  const look = styles(options);
  const entries = options.models.filter((m) => view.models.includes(m.key)).map((m) => [symbol(look[options.models.indexOf(m)]), m.label]);
  const list = make("ul", { className: "legend" });
  const rows = groups.flatMap((g) => g.rows);
  if (rows.some((row) => row.differs)) entries.push([symbol({ colour: "var(--ink)", shape: "circle" }), view.what === "effect" ? "filled: changed by the persona" : "filled, thick: differs from everyone else"]);
  if (rows.some((row) => !row.differs)) entries.push([symbol({ colour: "var(--ink)", shape: "circle" }, false), view.what === "effect" ? "open: no change shown" : "open: no difference shown"]);
  if (rows.some((row) => row.small && !row.differs)) entries.push([faint(), "pale: few people"]);
  if (view.what !== "effect") {
    for (const [name, [shape, colour]] of Object.entries(DRAWN)) {
      if (rows.some((row) => name in row.baselines)) entries.push([symbol({ colour: `var(${colour})`, shape }, false), BASELINES[name]]);
    }
    if (view.by !== "all" && state.everyoneElse.length) entries.push([dashed(), "everyone"]);
  }
  for (const [drawing, text] of entries) list.append(make("li", {}, drawing, text));
  return list;
}
function dashed() {
  const drawing = svg("svg", { viewBox: "-12 -10 24 20", width: 24, height: 20, class: "key", "aria-hidden": "true" });
  drawing.append(svg("line", { x1: 0, x2: 0, y1: -9, y2: 9, stroke: "var(--ink)", "stroke-width": 1.5, "stroke-dasharray": "4 3" }));
  return drawing;
}
function faint() {
  const drawing = svg("svg", { viewBox: "-12 -10 24 20", width: 24, height: 20, class: "key", "aria-hidden": "true" });
  drawing.append(svg("line", { x1: -10, x2: 10, y1: 0, y2: 0, stroke: "var(--ink)", "stroke-width": 1.7, opacity: 0.55 }));
  return drawing;
}

const caption = (title, said) =>
  make("figcaption", {}, make("strong", { textContent: title }), make("ul", { className: "said" }, ...said.map((text) => make("li", { textContent: text }))));

function dataTable(state, groups, title) {
  const { metric, view } = state;
  const effects = groups.some((g) => g.rows.some((row) => row.effect !== null));
  const head = [state.everyone ? "Condition" : "Group", "Model", "People", `${capital(metric.label)} [${CONFIDENCE}]`, ...(effects ? [`Effect of the persona [${CONFIDENCE}]`] : []), "Against everyone else", "Baselines", "Trace"];
  const table = make("table", {}, make("caption", { textContent: title }), make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col", textContent: text })))));
  const body = make("tbody");
  for (const group of groups) {
    for (const row of group.rows) {
      const cells = [
        row.model.label, asCount(row.people), `${asNumber(row.estimate, metric.share)} ${asInterval(row.low, row.high, metric.share)}`,
        ...(effects ? [`${asNumber(row.effect, metric.share, true)} ${asInterval(row.effectLow, row.effectHigh, metric.share, true)} ${asQ(row.effectQ)}`] : []),
        row.verdict ? `${VERDICTS[row.verdict]} ${asNumber(row.gap, metric.share, true)} ${asQ(row.gapQ)}` : "–",
        Object.entries(row.baselines).map(([name, value]) => `${BASELINES[name]} ${asNumber(value, metric.share)}`).join("; ") || "–",
      ];
      const line = make("tr", { className: row.differs ? "differs" : "" }, make("th", { scope: "row", textContent: group.label }), ...cells.map((text) => make("td", { textContent: text })));
      line.append(make("td", {}, make("code", { className: "id", textContent: row.id })));
      body.append(line);
    }
  }
  table.append(body);
  const region = make("div", { className: "scroll", role: "group", tabIndex: 0, ariaLabel: `Data: ${title}` }, table);
  measured.observe(region);
  return region;
}
const CONFIDENCE = document.querySelector("main").dataset.confidence;

function csvRows(state, groups) {
  const { view, metric } = state;
  const head = ["task", "survey", "wave", "metric", "dimension", "condition", "subgroup", "label", "model", "control", "estimate", "ci_low", "ci_high", "effect", "effect_low", "effect_high", "effect_q", "gap", "gap_q", "verdict", "people", "answers", "small", "weighted", ...Object.keys(BASELINES), "estimate_id"];
  const rows = groups.flatMap((g) => g.rows.map((r) => [view.task, view.survey, view.wave, metric.key, view.by, state.everyone ? g.key : view.condition, state.everyone ? "all" : g.key, g.label, r.model.key, r.model.control, r.estimate, r.low, r.high, r.effect, r.effectLow, r.effectHigh, r.effectQ, r.gap, r.gapQ, r.verdict, r.people, r.answers, r.small, r.weighted, ...Object.keys(BASELINES).map((b) => r.baselines[b] ?? null), r.id]));
  return [head, ...rows];
}

// --- The explorer -------------------------------------------------------------------------------------------------------

const explorer = document.getElementById("explorer");

if (explorer) {
  let wanted = Object.fromEntries(inAddress() ?? []);
  let all = false;
  let modelsOpen = false;
  let current = null;
  const pickers = make("div", { className: "pickers" });
  const figure = make("figure", { className: "drawn" });
  const map = make("figure", { className: "drawn map" });
  explorer.replaceChildren(pickers, figure, map);

  const source = (view) => `${SOURCE} ${location.protocol === "file:" ? "" : location.href.split("#")[0]}#${address(view)}`;
  const address = (view) => `view&${new URLSearchParams([...FIELDS.filter((f) => view[f]).map((f) => [f, view[f]]), ["models", view.models.join("|")], ...(view.map ? [["map", view.map]] : [])])}`;

  const changed = async (part) => {
    modelsOpen = "models" in part;
    const focused = document.activeElement;
    const [id, value] = [focused?.id, focused?.value];
    if (part.by || part.task || part.metric) all = false;
    wanted = { ...current.state.view, map: wanted.map, models: current.state.view.models.join("|"), ...part };
    await show();
    history.replaceState(null, "", `#${address(current.state.view)}`);
    const again = id ? document.getElementById(id) : [...pickers.querySelectorAll("input")].find((input) => input.value === value);
    again?.focus({ preventScroll: true });
  };

  let turn = 0;
  async function show() {
    const mine = ++turn;
    const data = await estimates();
    if (mine !== turn) return; // a later choice is on its way
    const state = settle(data, wanted);
    state.everyoneElse = everyoneElse(data, state);
    const groups = arranged(state);
    current = { state, groups, data };
    const { view, options } = state;
    const rows = [["task", "Task"], ["survey", "Survey"], ["wave", "Wave"], ["metric", "Metric"], ["what", "Show"], ["condition", "Condition"], ["by", "By"], ["sort", "Sort"]]
      .filter(([field]) => options[field].length > 1 && !(field === "condition" && state.everyone))
      .map(([field, title]) => picker(field, title, options[field], view[field], changed));
    pickers.replaceChildren(make("div", { className: "picks" }, ...rows), modelPicker(state, changed, modelsOpen));
    await forest(state, groups);
    if (mine === turn) await worldMap(data, state);
  }

  async function forest(state, groups) {
    const drawn = all || groups.length <= SHOWN_ROWS + 5 ? groups : groups.slice(0, SHOWN_ROWS);
    const title = heading(state);
    const said = finding(state, groups);
    const host = make("div", { className: "drawing", role: "img", ariaLabel: `Chart: ${title}. ${said.join(" ")}` });
    const parts = [caption(title, said), key(state, groups), host];
    if (drawn.length < groups.length) {
      const more = make("button", { type: "button", textContent: `Show all ${groups.length} groups (${drawn.length} are drawn)` });
      more.addEventListener("click", () => { all = true; show(); });
      parts.push(make("p", {}, more));
    }
    const table = make("details", {}, make("summary", { textContent: "Data of this chart" }));
    table.addEventListener("toggle", () => { if (table.open && table.children.length === 1) table.append(dataTable(state, groups, title)); });
    const of = () => ({ title, source: source(state.view), rows: csvRows(state, groups), drawing: host.querySelector("svg"), legend: figure.querySelector(".legend") });
    const bar = savingButtons(Object.assign(of, { title: () => title }));
    const link = make("button", { type: "button", textContent: "Copy link to this view" });
    link.addEventListener("click", async () => {
      history.replaceState(null, "", `#${address(state.view)}`);
      try { await navigator.clipboard.writeText(location.href); link.textContent = "Link copied"; } catch { link.textContent = "The address bar has the link"; }
    });
    bar.append(link);
    const width = explorer.clientWidth;
    figure.style.minHeight = `${figure.offsetHeight}px`; // the page does not jump while the chart is drawn again
    figure.replaceChildren(...parts, table, bar);
    if (groups.length) await draw(host, forestSpec(state, drawn, width));
    else host.textContent = "No estimate.";
    figure.style.minHeight = "";
    figure.dataset.ready = "";
  }

  async function worldMap(data, state) {
    const countries = document.getElementById("world") && settle(data, { ...state.view, by: "country", models: state.view.models.join("|") });
    if (!countries || countries.view.by !== "country" || state.view.what === "effect") { map.hidden = true; return; }
    map.hidden = false;
    const models = countries.options.models;
    const model = models.find((m) => m.key === wanted.map) ?? models.find((m) => state.view.models.includes(m.key)) ?? models[0];
    const rows = countries.rows.filter((row) => row.model === model);
    const { spec, missing } = await mapSpec(countries, rows, explorer.clientWidth);
    const { view, options } = countries;
    const title = `${capital(countries.metric.label)} of ${model.label} by country, ${label(options, view, "condition")}: ${label(options, view, "task")}, ${label(options, view, "survey")}`;
    const groups = arranged({ ...countries, view: { ...view, models: [model.key], what: "estimate", sort: "value" } });
    const said = finding({ ...countries, view: { ...view, models: [model.key], what: "estimate" } }, groups);
    const note = `Hatched: too few data to say whether the country differs from the others.${missing.length ? ` Too small for this map: ${missing.map((row) => `${row.label} ${asNumber(row.estimate, countries.metric.share)}`).join(", ")}.` : ""}`;
    const host = make("div", { className: "drawing", role: "img", ariaLabel: `World map: ${title}. ${said.join(" ")}` });
    const choice = models.length > 1 ? [make("div", { className: "picks" }, picker("map", "Model on the map", models, model.key, (part) => { wanted = { ...wanted, ...part }; worldMap(data, state); }))] : [];
    const table = make("details", {}, make("summary", { textContent: "Data of this map" }));
    table.addEventListener("toggle", () => { if (table.open && table.children.length === 1) table.append(dataTable(countries, groups, title)); });
    const of = Object.assign(() => ({ title, source: `${note} ${source(view)}`, rows: csvRows(countries, groups), drawing: host.querySelector("svg") }), { title: () => title });
    map.replaceChildren(caption(title, said), ...choice, host, make("p", { className: "sub", textContent: note }), table, savingButtons(of));
    await draw(host, spec);
    map.dataset.ready = "";
  }

  /** The estimate of everyone for each chosen model: the dashed lines. */
  function everyoneElse(data, { view, options }) {
    const { names } = data;
    const range = data.ranges.find((r) => ["task", "survey", "metric", "condition"].every((f) => names[f][r[f]].key === view[f]));
    const found = [];
    for (let i = range.start; i < range.end; i++) {
      if (names.dimensions[names.group[data.columns.group[i]][0]].key !== "all") continue;
      const row = data.row(i);
      if (view.models.includes(row.model.key) && row.estimate !== null) found.push(row);
    }
    return found;
  }

  const start = whenSeen(explorer, show);
  addEventListener("hashchange", async () => {
    const there = inAddress();
    if (!there) return;
    wanted = Object.fromEntries(there);
    all = false;
    await show();
    document.getElementById("explore").scrollIntoView();
  });
  if (inAddress()) start().then(() => document.getElementById("explore").scrollIntoView());
  // Unpack and draw what nobody has scrolled to yet when the page is idle, so that it can be printed.
  addEventListener("load", () => (window.requestIdleCallback ?? setTimeout)(() => setTimeout(start, 1_500)));

  let width = explorer.clientWidth;
  new ResizeObserver(() => {
    if (!current || explorer.clientWidth === width) return;
    width = explorer.clientWidth;
    clearTimeout(explorer.timer);
    explorer.timer = setTimeout(show, 150);
  }).observe(explorer);
}

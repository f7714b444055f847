// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Who served the entries that two-dimensional walks read: a row for each level of the guest's tables
// and one for the data, a column for each level of the second stage and one for the guest's entry.

import { choice, h, section, table } from "./dom.js";
import { percent, threeDigits, withCommas } from "./format.js";

/** Near to far. */
export const sources = [
  ["walk_cache", "walk cache"],
  ["nested_tlb", "nested TLB"],
  ["l1", "L1"],
  ["l2", "L2"],
  ["l3", "L3"],
  ["memory", "memory"],
];
export const spans = ["4 KiB", "2 MiB", "1 GiB", "512 GiB", "256 TiB"];

const place = /^reference\.(?:data|guest(\d))(?:\.nested(\d))?(\.update)?\.(\w+)(\.cycles)?$/;

/** Of a run: cells by guest level (null: the data) and nested level (null: the guest's entry). */
export function cellsOf(run, names) {
  const cells = new Map();
  for (const name of names) {
    const found = place.exec(name);
    if (found === null || !run.has(name)) continue;
    const [, guest, nested, update, source, cycles] = found;
    const key = `${guest ?? "data"}/${nested ?? "entry"}`;
    if (!cells.has(key)) {
      cells.set(key, { references: 0, cycles: 0, updates: 0, by: new Map() });
    }
    const cell = cells.get(key);
    if (!cell.by.has(source)) cell.by.set(source, { references: 0, cycles: 0 });
    const value = run.is(name);
    const what = cycles ? "cycles" : "references";
    cell[what] += value;
    cell.by.get(source)[what] += value;
    if (update && !cycles) cell.updates += value;
  }
  return cells;
}

/** Levels that cells are of, from the root down. */
export function levelsOf(cells) {
  let guests = -1;
  let nests = -1;
  for (const key of cells.keys()) {
    const [guest, nested] = key.split("/");
    if (guest !== "data") guests = Math.max(guests, Number(guest));
    if (nested !== "entry") nests = Math.max(nests, Number(nested));
  }
  const down = (from) => Array.from({ length: from + 1 }, (_, n) => String(from - n));
  return { guests: down(guests), nests: down(nests) };
}

const nameOf = (source) => sources.find(([id]) => id === source)?.[1] ?? "nobody";
const mostOf = (cell, what) =>
  [...cell.by].reduce((most, each) => (each[1][what] > most[1][what] ? each : most))[0];

function whereText(guest, nested) {
  const of = guest === "data" ? "the data's address" : `the guest's entry of level ${guest}`;
  return nested === "entry"
    ? `the guest's entry of level ${guest}`
    : `second stage, level ${nested}, for ${of}`;
}

function mixOf(cell) {
  return h(
    "span",
    { class: "mix" },
    sources
      .filter(([id]) => cell.by.has(id))
      .map(([id]) =>
        h("i", {
          class: "from-" + id,
          style: `width:${(100 * cell.by.get(id).references) / cell.references}%`,
        }),
      ),
  );
}

function detailOf(cell, guest, nested, walks) {
  const rows = sources
    .filter(([id]) => cell.by.has(id))
    .map(([id, name]) => {
      const { references, cycles } = cell.by.get(id);
      return [
        [h("span", { class: "chip from-" + id }), name],
        withCommas(references),
        percent(references / cell.references),
        references ? threeDigits(cycles / references) : "–",
        percent(cell.cycles ? cycles / cell.cycles : 0),
      ];
    });
  const text = whereText(guest, nested);
  return [
    h("h3", null, text[0].toUpperCase() + text.slice(1)),
    h(
      "p",
      null,
      `${threeDigits(cell.references / walks)} references and `,
      `${threeDigits(cell.cycles / walks)} cycles in an average walk, `,
      `${withCommas(cell.references)} and ${withCommas(cell.cycles)} in all`,
      cell.updates ? `; ${withCommas(cell.updates)} updates of flags` : "",
      ".",
    ),
    table(text, ["from", "references", "", "cycles each", "cycles"], rows, {
      class: "numbers",
    }),
  ];
}

// Keys move between cells; one of them is in the order of tabs.
function moveByKeys(event) {
  const steps = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };
  const cell = event.target.closest("td");
  if (!cell || !(event.key in steps)) return;
  const [down, right] = steps[event.key];
  const rows = [...cell.closest("tbody").rows];
  const next = rows[rows.indexOf(cell.parentNode) + down]?.cells[cell.cellIndex + right];
  if (!next || next.tagName !== "TD") return;
  event.preventDefault();
  next.focus();
}

function matrix(run, names) {
  const cells = cellsOf(run, names);
  const walks = run.is("walk.count");
  if (cells.size === 0 || walks === 0) return h("p", null, "No walk read an entry.");
  const { guests, nests } = levelsOf(cells);
  let all = 0;
  for (const cell of cells.values()) all += cell.cycles;
  const detail = h("div", { class: "detail", "aria-live": "polite" });
  let chosen = null;
  const show = (td, ...of) => {
    if (chosen === td) return;
    chosen?.classList.remove("chosen");
    chosen?.setAttribute("tabindex", -1);
    chosen = td;
    td.classList.add("chosen");
    td.setAttribute("tabindex", 0);
    detail.replaceChildren(...detailOf(...of).flat());
  };
  let step = 0;
  let heaviest = null;
  const cellOf = (guest, nested) => {
    const number = guest === "data" && nested === "entry" ? "" : ++step;
    const cell = cells.get(`${guest}/${nested}`);
    if (!cell || cell.references === 0) {
      const done = guest === "data" && nested === "entry";
      const text = done ? "translated" : "no walk";
      return h("td", { class: "empty", tabindex: -1 }, h("span", { class: "step" }, number),
        h("span", { class: "none" }, text));
    }
    const source = mostOf(cell, "references");
    const strength = 0.35 + 0.65 * Math.sqrt(Math.min(1, cell.references / walks));
    const text =
      `${whereText(guest, nested)}: ${threeDigits(cell.cycles / walks)} cycles a walk, ` +
      `${percent(cell.cycles / all)}; mostly from ${nameOf(source)}`;
    const td = h(
      "td",
      {
        class: "cell from-" + source,
        style: `--often:${(100 * strength).toFixed(1)}%`,
        tabindex: -1,
        "aria-label": text,
        "data-references-from": source,
        "data-cycles-from": mostOf(cell, "cycles"),
        "data-references": cell.references,
        "data-cycles": cell.cycles,
        "data-cell": `${guest}/${nested}`,
      },
      h("span", { class: "step" }, number),
      h("span", { class: "cycles" }, threeDigits(cell.cycles / walks)),
      h("span", { class: "share" }, percent(cell.cycles / all)),
      mixOf(cell),
    );
    const of = [cell, guest, nested, walks];
    td.addEventListener("pointerenter", () => show(td, ...of));
    td.addEventListener("focus", () => show(td, ...of));
    td.addEventListener("click", () => td.focus());
    if (heaviest === null || cell.cycles > heaviest.cycles) heaviest = { cycles: cell.cycles, td, of };
    return td;
  };
  const rowOf = (guest) =>
    h(
      "tr",
      null,
      h(
        "th",
        { scope: "row" },
        guest === "data" ? "data" : "level " + guest,
        h("small", null, guest === "data" ? "its address" : spans[guest]),
      ),
      nests.map((nested) => cellOf(guest, nested)),
      cellOf(guest, "entry"),
    );
  const rows = nests.length ? [...guests, "data"] : guests;
  const grid = h(
    "table",
    { class: "matrix", role: "grid", onkeydown: moveByKeys },
    h("caption", { class: "unseen" }, `Entries that walks of ${run.name} read; arrow keys move`),
    h(
      "thead",
      null,
      nests.length
        ? h(
            "tr",
            { class: "stages" },
            h("th", { scope: "col" }, h("small", null, "guest ↓")),
            h("th", { colspan: nests.length, scope: "colgroup" }, "second stage"),
            h("th", { scope: "colgroup" }, "first stage"),
          )
        : null,
      h(
        "tr",
        null,
        h("td"),
        nests.map((each) =>
          h("th", { scope: "col" }, "level " + each, h("small", null, spans[each])),
        ),
        h("th", { scope: "col" }, "guest’s entry"),
      ),
    ),
    h("tbody", null, rows.map(rowOf)),
  );
  if (heaviest) show(heaviest.td, ...heaviest.of);
  return h(
    "div",
    null,
    walkBar(run, all, walks),
    h("div", { class: "matrix-and-detail" }, h("div", null, grid, legend(run, cells)), detail),
  );
}

const parts = [
  ["walk.waiting", "waiting for a walker", "part-waiting"],
  ["walk.nested_waiting", "waiting for the second stage’s walker", "part-waiting"],
  ["walk.missing", "misses of walk caches", "part-missing"],
  ["walk.steps", "in the walker", "part-steps"],
  ["walk.assists", "microcode", "part-assists"],
];

// Of all that a walk takes: entries are one part of it.
function walkBar(run, entries, walks) {
  const all = run.is("translation.walks");
  if (all === 0) return null;
  const list = [[entries, "entries, below", "part-entries"]].concat(
    parts.map(([name, text, of]) => [run.is(name), text, of]),
  );
  const mean = run.is("walk.cycles_mean");
  return h(
    "div",
    { class: "walk-bar" },
    h(
      "p",
      null,
      h("b", null, withCommas(walks)),
      " walks, ",
      h("b", null, threeDigits(mean)),
      " cycles and ",
      h("b", null, threeDigits(run.is("walk.references_mean"))),
      " references each",
    ),
    h(
      "div",
      { class: "stack" },
      list
        .filter(([cycles]) => cycles > 0)
        .map(([cycles, text, of]) => {
          const words = `${text}: ${threeDigits(cycles / walks)} cycles a walk, ${percent(cycles / all)}`;
          const width = cycles / all;
          return h(
            "span",
            {
              class: "segment " + of,
              style: `width:${100 * width}%`,
              tabindex: 0,
              role: "img",
              "aria-label": words,
              "data-tip": words,
            },
            width > 0.2 ? h("span", null, text) : null,
          );
        }),
    ),
  );
}

function legend(run, cells) {
  const total = run.is("walk.references");
  const by = new Map(sources.map(([id]) => [id, 0]));
  for (const cell of cells.values()) {
    for (const [id, { references }] of cell.by) by.set(id, (by.get(id) ?? 0) + references);
  }
  return h(
    "ul",
    { class: "legend" },
    sources.map(([id, name]) =>
      h(
        "li",
        null,
        h("span", { class: "chip from-" + id }),
        name,
        h("small", null, percent(total ? by.get(id) / total : 0)),
      ),
    ),
  );
}

export function matrixSection(data) {
  const names = data.table.names.filter((each) => each.startsWith("reference."));
  if (names.length === 0) return null;
  const shown = data.cases.map((run) =>
    h("div", { class: "of-run", "data-run": run.name, hidden: true },
      data.cases.length > 1 ? h("h3", { class: "for-print" }, run.name) : null,
      matrix(run, names)),
  );
  const picker = choice(
    "run",
    data.cases.map((run) => run.name),
    (n) => shown.forEach((each, at) => (each.hidden = at !== n)),
  );
  const colours = choice("colour", ["most references", "most cycles"], (n) => {
    const key = n === 0 ? "referencesFrom" : "cyclesFrom";
    for (const cell of shown.flatMap((each) => [...each.querySelectorAll(".cell")])) {
      for (const [id] of sources) cell.classList.toggle("from-" + id, cell.dataset[key] === id);
    }
  });
  return section(
    "walks",
    "Who served the walks",
    "Each cell is an entry that a walk may read, in the order of the numbers. Its colour says who " +
      "served most of its references, paler where few walks come. Large: cycles of an average " +
      "walk; below: share of the cycles for all entries. The strip shows references by source.",
    h("div", { class: "tools" }, picker, colours),
    shown,
  );
}

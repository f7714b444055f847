// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { choice, h, matcher, section, sorting } from "./dom.js";
import { statistic } from "./format.js";

const few = 400; // rows that are shown at a time

const baseOf = (name) => name.replace(/^(vm\d+\.|phase\.[^.]*\.)+/, "");

export function tableSection(data) {
  const { names, values, meanings, main } = data.table;
  const several = data.cases.length > 1;
  const rows = names.map((name, at) => {
    const [unit, sentence] = meanings[baseOf(name)] ?? ["", ""];
    const mine = values.map((each) => each[at]);
    const ratios = mine.map((each) =>
      typeof each === "number" && typeof mine[0] === "number" && mine[0] !== 0
        ? each / mine[0]
        : null,
    );
    return { at, name, unit, sentence, values: mine, ratios, differs: new Set(mine).size > 1 };
  });
  const mains = new Set(main);
  const sets = [
    ["main", (row) => mains.has(row.name)],
    ["all", () => true],
    ["that differ", (row) => row.differs],
  ].slice(0, several ? 3 : 2);

  let set = 0;
  let most = few;
  const body = h("tbody");
  const count = h("p", { class: "count", role: "status" });
  const more = h("button", { type: "button", hidden: true, onclick: () => {
    most = Infinity;
    show();
  } }, "show all");
  const filter = h("input", {
    type: "search",
    placeholder: "filter: walk.* tlb",
    "aria-label": "filter by name or sentence, * for anything",
    oninput: () => {
      most = few;
      show();
    },
  });

  function rowOf(row) {
    return h(
      "tr",
      { "data-name": row.name },
      h(
        "th",
        { scope: "row" },
        h("span", { tabindex: 0, "data-tip": `${row.sentence} (${row.unit})`,
          "aria-label": `${row.name}: ${row.sentence}` }, row.name),
        h("small", null, row.unit),
      ),
      row.values.map((each, n) => [
        h("td", { class: "value" }, statistic(each)),
        n === 0 ? null : h("td", { class: "ratio" }, row.ratios[n]?.toFixed(2) ?? ""),
      ]),
    );
  }
  function show() {
    const wanted = matcher(filter.value);
    const found = rows.filter((row) => sets[set][1](row) && wanted(row.name, row.sentence));
    found.sort(order.compare);
    body.replaceChildren(...found.slice(0, most).map(rowOf));
    count.textContent = `${Math.min(most, found.length)} of ${names.length} statistics`;
    more.hidden = found.length <= most;
    more.textContent = `show all ${found.length}`;
  }
  const order = sorting(show);
  const number = (value) => (typeof value === "number" ? value : null);
  const heads = [
    order.head("statistic", (row) => row.name),
    data.cases.map((run, n) => [
      order.head(run.name, (row) => number(row.values[n])),
      n === 0 ? null : order.head("ratio", (row) => row.ratios[n], `ratio of ${run.name}`),
    ]),
  ];
  const picker = choice("statistics", sets.map(([name]) => name), (n) => {
    set = n;
    most = few;
    show();
  });
  return section(
    "statistics",
    "Statistics",
    several
      ? "Ratios are against the first run. A name's sentence comes when it is pointed at."
      : "A name's sentence comes when it is pointed at.",
    h("div", { class: "tools" }, picker, filter, count),
    h("div", { class: "scroll" },
      h("table", { class: "numbers statistics" },
        h("caption", { class: "unseen" }, "Statistics of all runs"),
        h("thead", null, h("tr", null, heads)), body)),
    more,
  );
}

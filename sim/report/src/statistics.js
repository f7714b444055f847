// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { choice, h, section } from "./dom.js";
import { statistic } from "./format.js";

const few = 400; // rows that are shown at a time

// As --statistics has them: '*' is anything, '?' a letter; a word alone is anywhere in the name.
function matcher(text) {
  const words = text.trim().split(/\s+/).filter((each) => each !== "");
  const patterns = words.map((word) => {
    const pattern = word
      .replace(/[.+^${}()|[\]\\]/g, "\\$&")
      .replace(/\*/g, ".*")
      .replace(/\?/g, ".");
    return new RegExp(/[*?]/.test(word) ? `^${pattern}$` : pattern, "i");
  });
  return (name, sentence) =>
    patterns.length === 0 || patterns.some((each) => each.test(name) || each.test(sentence));
}

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
  let order = { key: (row) => row.at, down: false, head: null };
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

  function compare(a, b) {
    const [x, y] = [order.key(a), order.key(b)];
    if (x === null || y === null) return (x === null) - (y === null);
    const by = typeof x === "string" ? x.localeCompare(y, "en", { numeric: true }) : x - y;
    return (order.down ? -by : by) || a.at - b.at;
  }
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
    found.sort(compare);
    body.replaceChildren(...found.slice(0, most).map(rowOf));
    count.textContent = `${Math.min(most, found.length)} of ${names.length} statistics`;
    more.hidden = found.length <= most;
    more.textContent = `show all ${found.length}`;
  }
  function head(text, key, label = text) {
    const th = h("th", { scope: "col" });
    th.append(
      h("button", { type: "button", "aria-label": `sort by ${label}`, onclick: () => {
        const down = order.head === th ? !order.down : false;
        order.head?.removeAttribute("aria-sort");
        order = { key, down, head: th };
        th.setAttribute("aria-sort", down ? "descending" : "ascending");
        show();
      } }, text),
    );
    return th;
  }
  const number = (value) => (typeof value === "number" ? value : null);
  const heads = [
    head("statistic", (row) => row.name),
    data.cases.map((run, n) => [
      head(run.name, (row) => number(row.values[n])),
      n === 0 ? null : head("ratio", (row) => row.ratios[n], `ratio of ${run.name}`),
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

// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Ranges of `nestwalk compare --sure`: each run with the preset's values, and with draws of its
// guesses.

import { drawn, h, s, section, table } from "./dom.js";
import { amount, statistic, ticks } from "./format.js";

const columns = ["preset", "least", "p5", "median", "p95", "most"];

function chart(cases, name, width) {
  const high = 44;
  const narrow = width < 560;
  const box = { left: narrow ? 14 : 210, right: width - 24, top: 10 };
  const bottom = box.top + cases.length * high;
  const most = Math.max(...cases.map((each) => each.statistics[name].most), 0) || 1;
  const x = (value) => box.left + (value / most) * (box.right - box.left);
  const row = (each, n) => {
    const spread = each.statistics[name];
    const at = box.top + n * high + (narrow ? 30 : high / 2);
    const text = `${each.name}: preset ${statistic(spread.preset)}, least ` +
      `${statistic(spread.least)}, median ${statistic(spread.median)}, most ${statistic(spread.most)}`;
    return s(
      "g",
      { class: "spread", tabindex: 0, role: "img", "aria-label": text, "data-tip": text },
      s("rect", { class: "hit", x: box.left, y: at - 12, width: box.right - box.left, height: 24 }),
      s("text", { class: "label", x: narrow ? box.left : box.left - 12, y: narrow ? at - 14 : at + 4,
        "text-anchor": narrow ? "start" : "end" }, each.name),
      s("path", { class: "whisker", d: `M${x(spread.least)},${at - 6}v12M${x(spread.least)},${at}` +
        `H${x(spread.most)}M${x(spread.most)},${at - 6}v12` }),
      s("rect", { class: "middle", x: x(spread.p5), y: at - 5,
        width: Math.max(1, x(spread.p95) - x(spread.p5)), height: 10 }),
      s("path", { class: "median", d: `M${x(spread.median)},${at - 8}v16` }),
      s("circle", { class: "own", cx: x(spread.preset), cy: at, r: 4.5 }),
    );
  };
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${bottom + 30}`, role: "group", "aria-label": `spread of ${name}` },
    s("title", null, `Spread of ${name} over draws of the guesses`),
    ticks(most, narrow ? 3 : 6).map((each) => [
      s("line", { class: "grid", x1: x(each), x2: x(each), y1: box.top, y2: bottom }),
      s("text", { class: "tick", x: x(each), y: bottom + 18, "text-anchor": "middle" },
        amount(each).trim()),
    ]),
    cases.map(row),
  );
}

function sentenceOf(sure, order) {
  const range = `${order.ratio.least.toFixed(3)} to ${order.ratio.most.toFixed(3)}`;
  const in_draws = `in ${order.holds} of ${sure.draws} draws`;
  return order.same
    ? `${order.less} and ${order.more} take the same time ${in_draws}; ratio ${range}.`
    : `${order.less} takes less time than ${order.more} ${in_draws}; ${order.more} takes ${range} ` +
      `times as long (${order.statistic}).`;
}

function shown(sure, number) {
  const names = Object.keys(sure.cases[0]?.statistics ?? {}).filter((name) =>
    sure.cases.every((each) => name in each.statistics));
  if (names.length === 0) return h("p", null, "No statistic has a spread.");
  let name = ["time.ns", "time.cycles"].find((each) => names.includes(each)) ?? names[0];
  const place = h("div", { class: "plot" });
  const numbers = h("div");
  const drawing = drawn(place, (width) => chart(sure.cases, name, width));
  const fill = () => {
    drawing.again();
    numbers.replaceChildren(
      table(`Spread of ${name}`, ["run", ...columns],
        sure.cases.map((each) => [each.name,
          ...columns.map((column) => statistic(each.statistics[name][column]))]),
        { class: "numbers spreads" }),
    );
  };
  const id = `spread-statistic-${number}`;
  const select = h("select", { id, onchange: () => {
    name = select.value;
    fill();
  } }, names.map((each) => h("option", { value: each, selected: each === name }, each)));
  fill();
  return h(
    "div",
    { class: "of-run" },
    h("ul", { class: "orders" }, sure.orders.map((each) => h("li", null, sentenceOf(sure, each)))),
    h("p", { class: "tools" }, h("label", { for: id }, "statistic"), select),
    place,
    numbers,
  );
}

export function spreadsSection(data) {
  if (data.spreads.length === 0) return null;
  return section(
    "spreads",
    "Certainty",
    "Each run repeated with other values for the guesses of its machine. Dot: the preset’s own " +
      "values; thin line: least to most; bar: 5th to 95th percentile; stroke: median.",
    data.spreads.map(shown),
  );
}

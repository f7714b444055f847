// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { choice, h, section, table } from "./dom.js";
import { duration, percent, ticks } from "./format.js";

// Those that are in most runs have a colour each; hatched ones share the rest.
const known = [
  "TLBs and walks",
  "data",
  "instructions",
  "guest's kernel",
  "exits",
  "held behind faults",
  "before the guest ran",
];

function classOf(label) {
  const n = known.indexOf(label);
  return n < 0 ? "cause-other" : "cause-" + n;
}

const timeOf = (run) => run.causes.reduce((sum, each) => sum + each.ns, 0);
const nsOf = (run, label) => run.causes.find((each) => each.label === label)?.ns ?? 0;

function bar(run, labels, whole) {
  const all = timeOf(run);
  const segments = labels
    .filter((label) => nsOf(run, label) > 0)
    .map((label) => {
      const ns = nsOf(run, label);
      const text = `${run.name}: ${label}, ${duration(ns)}, ${percent(ns / all)} of the time`;
      const width = ns / whole;
      return h(
        "span",
        {
          class: "segment " + classOf(label),
          style: `width:${100 * width}%`,
          tabindex: 0,
          role: "img",
          "aria-label": text,
          "data-tip": text,
        },
        width > 0.06 ? h("span", null, percent(ns / all)) : null,
      );
    });
  return h("div", { class: "stack" }, segments);
}

function bars(data, labels, shares) {
  const most = Math.max(...data.cases.map(timeOf));
  const scale = shares ? [0, 0.25, 0.5, 0.75, 1] : ticks(most, 5).map((each) => each / most);
  const text = (at) => (shares ? 100 * at + " %" : duration(at * most));
  return h(
    "div",
    { class: "bars" },
    data.cases.map((run) => [
      h("div", { class: "bar-name" }, run.name, h("b", null, duration(timeOf(run)))),
      bar(run, labels, shares ? timeOf(run) || 1 : most || 1),
    ]),
    h("div"),
    h(
      "div",
      { class: "axis", "aria-hidden": true },
      scale.map((at) => h("span", { style: `left:${100 * at}%` }, text(at))),
    ),
  );
}

export function timeSection(data) {
  const most = new Map();
  for (const run of data.cases) {
    for (const { label, ns } of run.causes) {
      most.set(label, Math.max(most.get(label) ?? 0, ns / (timeOf(run) || 1)));
    }
  }
  const order = (label) => (known.includes(label) ? known.indexOf(label) : known.length);
  const labels = [...most.keys()].sort(
    (a, b) => order(a) - order(b) || most.get(b) - most.get(a),
  );
  const place = h("div");
  const picker = choice("axis", ["time", "share"], (n) =>
    place.replaceChildren(bars(data, labels, n === 1)),
  );
  const rows = labels.map((label) => [
    [h("span", { class: "chip " + classOf(label) }), label],
    ...data.cases.map((run) => {
      const ns = nsOf(run, label);
      return ns === 0
        ? "–"
        : [duration(ns), h("small", null, percent(ns / timeOf(run)))];
    }),
  ]);
  return section(
    "time",
    "Time by cause",
    "What the time went to. All bars are on one axis.",
    picker,
    place,
    table("Time by cause", ["cause", ...data.cases.map((run) => run.name)], rows, {
      class: "numbers causes",
    }),
  );
}

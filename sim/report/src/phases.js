// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { choice, drawn, h, s, section, table } from "./dom.js";
import { amount, bytes, duration, percent, ticks, withCommas } from "./format.js";

const perAccess = (name) => (of) => (of("access.total") ? of(name) / of("access.total") : 0);
const rates = [
  ["time an access", "ns", (of, ns) => perAccess("time.vcpus")(of) * ns, duration],
  ["exits per ms", "exits", (of, ns) =>
    of("time.cycles") ? (1e6 * of("exit.total")) / (of("time.cycles") * ns) : 0, amount],
  ["walks per 1000 accesses", "walks", (of) => 1000 * perAccess("walk.count")(of), amount],
  ["memory backed", "bytes", (of) => of("memory.backed"), bytes],
];

function phasesOf(run, labels) {
  let begin = 0;
  return labels
    .filter((label) => run.has(`phase.${label}.time.cycles`))
    .map((label) => {
      const of = (name) => run.is(`phase.${label}.${name}`);
      const phase = { label, of, begin, cycles: of("time.cycles") };
      begin += phase.cycles;
      return phase;
    });
}

function chart(run, phases, width) {
  const ns = run.ns_per_cycle;
  const all = phases.reduce((sum, each) => sum + each.cycles, 0) * ns;
  const left = width < 560 ? 12 : 170;
  const box = { left, right: width - 58 };
  const x = (cycles) => box.left + ((cycles * ns) / all) * (box.right - box.left);
  const high = 54;
  const gap = 34;
  const top = 34;
  const bottom = top + rates.length * (high + gap) - gap;
  const row = ([title, , rate, text], n) => {
    const values = phases.map((each) => rate(each.of, ns));
    const most = Math.max(...values, 0) || 1;
    const base = top + n * (high + gap) + high;
    let path = `M${box.left},${base}`;
    phases.forEach((each, at) => {
      const y = (base - (values[at] / most) * high).toFixed(1);
      path += `L${x(each.begin).toFixed(1)},${y}H${x(each.begin + each.cycles).toFixed(1)}`;
    });
    return [
      s("path", { d: path + `V${base}Z`, class: "area area-" + n }),
      s("line", { class: "grid", x1: box.left, x2: box.right, y1: base, y2: base }),
      s("text", { class: "label", x: width < 560 ? box.left : box.left - 12,
        y: width < 560 ? base - high - 6 : base - high / 2 + 4,
        "text-anchor": width < 560 ? "start" : "end" }, title),
      s("text", { class: "tick", x: box.right + 6, y: base - high + 10 }, text(most)),
      s("text", { class: "tick", x: box.right + 6, y: base }, "0"),
    ];
  };
  const hot = phases.map((each, n) => {
    const text =
      `phase ${each.label}: ${duration(each.cycles * ns)}, ${percent((each.cycles * ns) / all)}; ` +
      `${withCommas(each.of("access.total"))} accesses, ${withCommas(each.of("exit.total"))} exits, ` +
      `${withCommas(each.of("walk.count"))} walks, ${bytes(each.of("memory.backed"))} backed`;
    const wide = x(each.begin + each.cycles) - x(each.begin);
    return [
      s("rect", { class: "phase" + (n % 2 ? " odd" : ""), x: x(each.begin), y: 20,
        width: Math.max(wide, 1), height: bottom - 20, tabindex: phases.length > 60 ? -1 : 0,
        role: "img", "aria-label": text, "data-tip": text }),
      wide > 7 * each.label.length + 8
        ? s("text", { class: "tick", x: x(each.begin) + wide / 2, y: 14, "text-anchor": "middle" },
            each.label)
        : null,
    ];
  });
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${bottom + 40}`, role: "group", "aria-label": `phases of ${run.name}` },
    hot,
    rates.map(row),
    ticks(all, width < 560 ? 3 : 6).map((at) =>
      s("text", { class: "tick", x: box.left + (at / all) * (box.right - box.left), y: bottom + 18,
        "text-anchor": "middle" }, duration(at)),
    ),
    s("text", { class: "label", x: (box.left + box.right) / 2, y: bottom + 36,
      "text-anchor": "middle" }, "time"),
  );
}

function shown(run, labels) {
  const phases = phasesOf(run, labels);
  const place = h("div", { class: "plot" });
  drawn(place, (width) => chart(run, phases, width));
  const all = phases.reduce((sum, each) => sum + each.cycles, 0);
  const ns = run.ns_per_cycle;
  const few = phases.slice(0, 100);
  return h(
    "div",
    { class: "of-run", hidden: true },
    h("h3", { class: "for-print" }, run.name),
    place,
    table(
      "Phases of " + run.name,
      ["phase", "time", "share", "accesses", "an access", "exits", "walks", "backed"],
      few.map((each) => [
        each.label,
        duration(each.cycles * ns),
        percent(each.cycles / all),
        withCommas(each.of("access.total")),
        duration(perAccess("time.vcpus")(each.of) * ns),
        withCommas(each.of("exit.total")),
        withCommas(each.of("walk.count")),
        bytes(each.of("memory.backed")),
      ]),
      { class: "numbers" },
    ),
    phases.length > few.length ? h("p", null, `The first ${few.length} of ${phases.length}.`) : null,
  );
}

export function phasesSection(data) {
  const labels = [];
  for (const name of data.table.names) {
    const found = /^phase\.([^.]*)\.time\.cycles$/.exec(name);
    if (found) labels.push(found[1]);
  }
  const runs = data.cases.filter(
    (run) => run.ns_per_cycle !== null && phasesOf(run, labels).some((each) => each.cycles > 0),
  );
  if (runs.length === 0) return null;
  const all = runs.map((run) => shown(run, labels));
  const picker = choice("run", runs.map((run) => run.name), (n) =>
    all.forEach((each, at) => (each.hidden = at !== n)),
  );
  return section(
    "phases",
    "Phases",
    "What each phase of the trace cost, one after the other; as wide as the time that it took.",
    picker,
    all,
  );
}

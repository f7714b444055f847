// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

import { choice, drawn, h, s, section, table } from "./dom.js";
import { duration, statistic, threeDigits } from "./format.js";

const percentiles = [
  ["latency.mean", "mean"],
  ["latency.p50", "p50"],
  ["latency.p90", "p90"],
  ["latency.p99", "p99"],
  ["latency.p99.9", "p99.9"],
  ["latency.max", "max"],
];

/** Steps: up to so many ns, so large a part of the accesses. */
function curveOf(run) {
  const bins = run.histograms.latency ?? [];
  const all = bins.reduce((sum, [, , count]) => sum + count, 0);
  let so_far = 0;
  return bins.map(([, last, count]) => {
    so_far += count;
    return { ns: last * run.ns_per_cycle, share: so_far / all, left: (all - so_far) / all };
  });
}

function shareAt(curve, ns) {
  let share = 0;
  for (const each of curve) {
    if (each.ns > ns * 1.0000001) break;
    share = each.share;
  }
  return share;
}

// Nines: 0, 90 %, 99 %, 99.9 % are as far from each other.
const tailOf = (share, most) => (share >= 1 ? most : Math.min(most, -Math.log10(1 - share)));

function chart(data, curves, tail, width) {
  const height = Math.max(260, Math.min(400, width * 0.42));
  const box = { left: tail ? 74 : 52, right: width - 16, top: 12, bottom: height - 44 };
  const some = curves.flat().filter((each) => each.ns > 0);
  const least = Math.min(...some.map((each) => each.ns), 1e9);
  const most = Math.max(...some.map((each) => each.ns), least * 10);
  const first = Math.floor(Math.log10(least));
  const last = Math.log10(most) + 0.05;
  const zero = 30; // a slot for those that took no time
  const x = (ns) =>
    ns <= 0
      ? box.left
      : box.left + zero +
        ((Math.log10(ns) - first) / (last - first)) * (box.right - box.left - zero);
  const nines = Math.max(
    2,
    ...curves.flat().filter((each) => each.left > 0).map((each) => -Math.log10(each.left)),
  ) + 0.3;
  const y = (share) =>
    tail
      ? box.bottom - (tailOf(share, nines) / nines) * (box.bottom - box.top)
      : box.bottom - share * (box.bottom - box.top);
  const shares = tail
    ? [0, ...Array.from({ length: Math.floor(nines) }, (_, n) => 1 - 10 ** -(n + 1))]
    : [0, 0.25, 0.5, 0.75, 1];
  const powers = [];
  for (let power = first; power <= last; ++power) powers.push(10 ** power);
  const name = (share) => Number((100 * share).toFixed(6)) + " %";
  const lines = curves.map((curve, n) => {
    let path = `M${box.left},${y(0)}`;
    for (const { ns, share } of curve) path += `H${x(ns).toFixed(1)}V${y(share).toFixed(1)}`;
    return s("path", { d: path + `H${box.right}`, class: `curve run-${n % 8}` });
  });
  const cross = s("line", { class: "cross", y1: box.top, y2: box.bottom, visibility: "hidden" });
  const picture = s(
    "svg",
    {
      viewBox: `0 0 ${width} ${height}`,
      role: "img",
      tabindex: 0,
      "aria-label":
        "Part of the accesses that took at most so long; left and right keys move the reading. " +
        "The table below has percentiles.",
    },
    shares.map((each) => [
      s("line", { class: "grid", x1: box.left, x2: box.right, y1: y(each), y2: y(each) }),
      s("text", { class: "tick", x: box.left - 6, y: y(each) + 4, "text-anchor": "end" }, name(each)),
    ]),
    powers.map((each, n) => [
      s("line", { class: "grid", x1: x(each), x2: x(each), y1: box.top, y2: box.bottom }),
      width < 560 && n % 2 === 1
        ? null
        : s("text", { class: "tick", x: x(each), y: box.bottom + 18, "text-anchor": "middle" },
            duration(each).replace(/\.0+(?= )/, "")),
    ]),
    s("text", { class: "tick", x: box.left, y: box.bottom + 18, "text-anchor": "middle" }, "0"),
    s("text", { class: "label", x: (box.left + box.right) / 2, y: height - 6,
      "text-anchor": "middle" }, "latency of an access, log scale"),
    lines,
    cross,
  );
  const reading = h("p", { class: "reading", "aria-live": "polite" });
  let at = box.left + zero + (box.right - box.left - zero) / 2;
  const read = () => {
    at = Math.min(Math.max(at, box.left), box.right);
    const ns = at < box.left + zero
      ? 0
      : 10 ** (first + ((at - box.left - zero) / (box.right - box.left - zero)) * (last - first));
    cross.setAttribute("x1", x(ns));
    cross.setAttribute("x2", x(ns));
    cross.setAttribute("visibility", "visible");
    reading.replaceChildren(
      "at most ", h("b", null, duration(ns)), ": ",
      ...data.cases.flatMap((run, n) => [
        h("span", { class: `key run-${n % 8}` }), run.name + " ",
        h("b", null, (100 * shareAt(curves[n], ns)).toFixed(3) + " %"), n + 1 < data.cases.length ? ", " : "",
      ]),
    );
  };
  picture.addEventListener("pointermove", (event) => {
    const of = picture.getBoundingClientRect();
    at = ((event.clientX - of.left) / of.width) * width;
    read();
  });
  picture.addEventListener("keydown", (event) => {
    if (event.key !== "ArrowLeft" && event.key !== "ArrowRight") return;
    event.preventDefault();
    at += (event.key === "ArrowLeft" ? -1 : 1) * (event.shiftKey ? 40 : 8);
    read();
  });
  reading.append("Point at the chart, or use the arrow keys, to read it.");
  return h("div", null, picture, reading);
}

export function latencySection(data) {
  const curves = data.cases.map((run) => (run.ns_per_cycle === null ? [] : curveOf(run)));
  if (curves.every((each) => each.length === 0)) return null;
  let tail = 0;
  const place = h("div", { class: "plot" });
  const drawing = drawn(place, (width) => chart(data, curves, tail === 1, width));
  const picker = choice("vertical axis", ["all accesses", "tail"], (n) => {
    tail = n;
    drawing.again();
  });
  const rows = data.cases.map((run, n) => [
    [h("span", { class: `key run-${n % 8}` }), run.name],
    ...percentiles.map(([name]) => {
      const cycles = run.is(name);
      const text = Number.isInteger(cycles) ? statistic(cycles) : threeDigits(cycles);
      return [
        duration(cycles * (run.ns_per_cycle ?? 0)),
        cycles === 0 ? null : h("small", null, text),
      ];
    }),
  ]);
  return section(
    "latency",
    "Latency",
    "Which part of the accesses took at most so long. The tail has a step for each further nine.",
    picker,
    place,
    table("Latency of accesses, small: in cycles",
      ["run", ...percentiles.map(([, text]) => text)], rows, { class: "numbers" }),
  );
}

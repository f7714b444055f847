// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Curves of `nestwalk validate --json`: a load's latency over footprints, measured and simulated.

import { choice, drawn, h, s, section, table } from "./dom.js";
import { bytes, duration, threeDigits } from "./format.js";

const signed = (error) => (error < 0 ? "−" : "+") + Math.abs(100 * error).toFixed(1) + " %";
// 2.00 MiB: 2 MiB
const round = (text) => text.replace(/\.0+(?= )/, "");
const kindOf = (point) =>
  (point.probe === "pages" ? "a line of each page, " : "all lines, ") + round(bytes(point.page_bytes));

function kindsOf(points) {
  const kinds = new Map();
  for (const point of points) {
    if (!kinds.has(kindOf(point))) kinds.set(kindOf(point), []);
    kinds.get(kindOf(point)).push(point);
  }
  for (const each of kinds.values()) each.sort((a, b) => a.bytes - b.bytes);
  return kinds;
}

/** 1, 2 and 5 of each power of ten. */
function nsTicks(least, most) {
  const all = [];
  for (let power = Math.floor(Math.log10(least)); 10 ** power <= most; ++power) {
    for (const step of [1, 2, 5]) all.push(Number((step * 10 ** power).toPrecision(1)));
  }
  return all.filter((each) => each >= least && each <= most);
}

// Keys move between points; one of them is in the order of tabs.
function moveByKeys(event) {
  const steps = { ArrowLeft: -1, ArrowRight: 1 };
  if (!(event.key in steps)) return;
  const all = [...event.currentTarget.querySelectorAll(".point")];
  const next = all[all.indexOf(event.target) + steps[event.key]];
  if (!next) return;
  event.preventDefault();
  event.target.setAttribute("tabindex", -1);
  next.setAttribute("tabindex", 0);
  next.focus();
}

function chart(agreement, width) {
  const kinds = kindsOf(agreement.points);
  const height = Math.max(280, Math.min(460, width * 0.5));
  const box = { left: 66, right: width - 30, top: 14, bottom: height - 46 };
  const sizes = agreement.points.map((each) => each.bytes);
  const times = agreement.points.flatMap((each) => [each.measured_ns, each.simulated_ns]);
  const [first, last] = [Math.min(...sizes), Math.max(...sizes)];
  const [least, most] = [Math.min(...times) * 0.8, Math.max(...times) * 1.25];
  const x = (size) =>
    box.left + (Math.log(size / first) / (Math.log(last / first) || 1)) * (box.right - box.left);
  const y = (ns) =>
    box.bottom - (Math.log(ns / least) / Math.log(most / least)) * (box.bottom - box.top);
  const columns = [];
  for (let size = first; size <= last; size *= 4) columns.push(size);
  const every = Math.ceil(columns.length / Math.max(2, Math.floor(width / 90)));
  const path = (points, ns) =>
    "M" + points.map((each) => `${x(each.bytes).toFixed(1)},${y(ns(each)).toFixed(1)}`).join("L");
  let begun = false;
  const lines = [...kinds].map(([kind, points], n) => [
    s("path", { class: `measured kind-${n % 6}`, d: path(points, (each) => each.measured_ns) }),
    s("path", { class: `simulated kind-${n % 6}`, d: path(points, (each) => each.simulated_ns) }),
    points.map((each) => {
      const text = `${kind}, footprint ${round(bytes(each.bytes))}: measured ` +
        `${duration(each.measured_ns)}, simulated ${duration(each.simulated_ns)}, ` +
        `error ${signed(each.error)}`;
      const tabindex = begun ? -1 : 0;
      begun = true;
      return s("circle", { class: `point kind-${n % 6}`, cx: x(each.bytes), cy: y(each.measured_ns),
        r: 4.5, tabindex, role: "img", "aria-label": text, "data-tip": text });
    }),
  ]);
  const title = `Latency of a load over its footprint, ${agreement.machine} beside ${agreement.measured}`;
  return s(
    "svg",
    { viewBox: `0 0 ${width} ${height}`, role: "group", "aria-label": title, onkeydown: moveByKeys },
    s("title", null, title),
    nsTicks(least, most).map((each) => [
      s("line", { class: "grid", x1: box.left, x2: box.right, y1: y(each), y2: y(each) }),
      s("text", { class: "tick", x: box.left - 6, y: y(each) + 4, "text-anchor": "end" },
        round(duration(each).replace(/(\.[1-9])0(?= )/, "$1"))),
    ]),
    columns.map((each, n) => [
      s("line", { class: "grid", x1: x(each), x2: x(each), y1: box.top, y2: box.bottom }),
      n % every ? null : s("text", { class: "tick", x: x(each), y: box.bottom + 18,
        "text-anchor": "middle" }, round(bytes(each))),
    ]),
    s("text", { class: "label", x: (box.left + box.right) / 2, y: height - 6,
      "text-anchor": "middle" }, "footprint, log scale"),
    lines,
  );
}

function shown(agreement) {
  const place = h("div", { class: "plot" });
  drawn(place, (width) => chart(agreement, width));
  const kinds = [...kindsOf(agreement.points).keys()];
  return h(
    "div",
    { class: "of-run", "data-machine": agreement.machine },
    h("h3", null, `${agreement.machine} beside ${agreement.measured}`),
    h("p", null, "Mean error ", h("b", null, (100 * agreement.mean_error).toFixed(1) + " %"),
      ` of ${agreement.points.length} points`, agreement.times === "median" ? " (medians)" : "",
      agreement.surroundings ? "; " + agreement.surroundings : "", "."),
    place,
    h("ul", { class: "legend" },
      kinds.map((kind, n) => h("li", null, h("span", { class: `key kind-${n % 6}` }), kind)),
      h("li", null, "solid: measured, dashed: simulated")),
    h("details", null, h("summary", null, "all points"),
      table("Measured and simulated latency by footprint",
        ["point", "measured, ns", "simulated, ns", "error"],
        agreement.points.map((each) => [each.point, threeDigits(each.measured_ns),
          threeDigits(each.simulated_ns), signed(each.error)]),
        { class: "numbers points" })),
  );
}

export function calibrationSection(data) {
  if (data.agreements.length === 0) return null;
  const all = data.agreements.map(shown);
  const picker = choice("machine",
    data.agreements.map((each) => `${each.machine} beside ${each.measured}`),
    (n) => all.forEach((each, at) => (each.hidden = at !== n)));
  return section(
    "calibration",
    "Calibration",
    "Latency of dependent loads over their footprint, on the real and on the simulated machine. " +
      "Both axes are logarithmic. A point shows its error; left and right keys move between points.",
    picker,
    all,
  );
}

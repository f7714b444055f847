// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

// Findings of `nestwalk check --json`.

import { h, matcher, section, sorting } from "./dom.js";
import { amount, withCommas } from "./format.js";

const few = 200; // rows that are shown at a time
const severities = ["error", "warning", "note"];

const priceOf = (finding) =>
  typeof finding.price === "number" ? finding.price : (finding.price?.cycles ?? null);

function placeOf(finding) {
  const line = finding.line === undefined ? "" : `line ${finding.line}`;
  return [finding.site, line].filter(Boolean).join(", ");
}

function requirementOf({ demanded, manual, section: part }) {
  return [
    h("div", null, demanded ?? "–"),
    manual ? h("small", null, [manual, part].filter(Boolean).join(", ")) : null,
  ];
}

export function findingsSection(data) {
  if (data.checks.length === 0) return null;
  const rows = data.checks
    .flatMap((check) => check.findings.map((finding) => ({ ...finding, of: check.name })))
    .map((finding, at) => ({ ...finding, at }));
  const several = data.checks.length > 1;
  const has = (value) => rows.some((row) => (value(row) ?? "") !== "");
  const columns = [
    ["class", (row) => row.finding, (row) => [h("b", { class: "severity " + row.severity }, row.finding),
      h("small", null, row.severity)], true],
    ["severity", (row) => severities.indexOf(row.severity), (row) => row.severity, false],
    ["checked", (row) => row.of, (row) => row.of.split("/").at(-1), several],
    ["function", (row) => row.operation, (row) => row.operation || "–", true],
    ["count", (row) => row.count, (row) => withCommas(row.count), true],
    ["place", placeOf, (row) => placeOf(row) || "–", has(placeOf)],
    ["hits", (row) => row.hits ?? 0, (row) => withCommas(row.hits ?? 0), has((row) => row.hits)],
    ["cycles", priceOf, (row) => (priceOf(row) === null ? "–" : amount(priceOf(row))), has(priceOf)],
    ["issued", (row) => row.issued, (row) => row.issued || "nothing", true],
    ["requirement", (row) => row.demanded ?? "", requirementOf, true],
    ["reason", (row) => row.reason ?? row.sentence, (row) => row.reason ?? row.sentence, true],
  ].filter(([, , , wanted]) => wanted);
  let most = few;
  const body = h("tbody");
  const count = h("p", { class: "count", role: "status" });
  const more = h("button", { type: "button", hidden: true, onclick: () => {
    most = Infinity;
    show();
  } });
  const filter = h("input", { type: "search", placeholder: "filter: missing unmap",
    "aria-label": "filter findings by any of their texts, * for anything", oninput: () => {
      most = few;
      show();
    } });
  const order = sorting(show);
  const textsOf = (row) => [row.finding, row.severity, row.of, row.operation, placeOf(row), row.issued,
    row.demanded ?? "", row.manual ?? "", row.section ?? "", row.reason ?? row.sentence];
  function show() {
    const wanted = matcher(filter.value);
    const found = rows.filter((row) => wanted(...textsOf(row))).sort(order.compare);
    body.replaceChildren(...found.slice(0, most).map((row) =>
      h("tr", { "data-finding": row.finding, "data-count": row.count },
        columns.map(([, , cell], n) =>
          n === 0 ? h("th", { scope: "row" }, cell(row)) : h("td", null, cell(row))))));
    count.textContent = `${Math.min(most, found.length)} of ${rows.length} findings`;
    more.hidden = found.length <= most;
    more.textContent = `show all ${found.length}`;
  }
  const heads = columns.map(([name, key]) => order.head(name, key));
  const counted = (n, what) => `${withCommas(n)} ${what}${n === 1 ? "" : "s"}`;
  show();
  return section(
    "findings",
    "Findings",
    "Fences that the hypervisor did not issue, issued wrongly, or issued without need, with the " +
      "fence that the manual requires.",
    h("ul", { class: "checks" }, data.checks.map((check) =>
      h("li", null, h("b", null, check.name), ": " + [counted(check.errors, "error"),
        counted(check.warnings, "warning"), counted(check.notes, "note"),
        ...(check.unlisted ? [`${withCommas(check.unlisted)} not listed`] : []),
        ...(check.ended_early ? [`ended early: ${check.ended_early}`] : [])].join(", ")))),
    rows.length === 0 ? null : h("div", { class: "tools" }, filter, count),
    rows.length === 0 ? null : h("div", { class: "scroll", tabindex: 0, role: "region",
        "aria-label": "table of findings" },
      h("table", { class: "numbers findings" },
        h("caption", { class: "unseen" }, "Findings"),
        h("thead", null, h("tr", null, heads)), body)),
    more,
  );
}

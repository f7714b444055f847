// SPDX-FileCopyrightText: nestwalk contributors
// SPDX-License-Identifier: Apache-2.0

/** Three digits, or all before the point. */
export function threeDigits(value) {
  const size = Math.abs(value);
  return value.toFixed(size >= 99.95 || size === 0 ? 0 : size >= 9.995 ? 1 : 2);
}

function scaled(value, units, step) {
  let unit = 0;
  while (unit + 1 < units.length && Math.abs(value) >= step * 0.9995) {
    value /= step;
    ++unit;
  }
  return threeDigits(value) + units[unit];
}

export const duration = (ns) => (ns === 0 ? "0" : scaled(ns, [" ns", " µs", " ms", " s"], 1000));
export const bytes = (value) => scaled(value, [" B", " KiB", " MiB", " GiB", " TiB"], 1024);
export const amount = (value) => scaled(value, ["", " k", " M", " G"], 1000);

export function percent(share) {
  const value = 100 * share;
  if (value !== 0 && value < 0.05) return "<0.1 %";
  return value.toFixed(value < 9.95 ? 1 : 0) + " %";
}

export const withCommas = (number) => String(number).replace(/\B(?=(\d{3})+$)/g, ",");

/** As the text output has it, with commas. */
export function statistic(value) {
  if (value === null || value === undefined) return "–";
  return Number.isInteger(value) ? withCommas(value) : value.toFixed(6);
}

/** About so many round numbers from 0 to the most. */
export function ticks(most, about) {
  const rough = most / about;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].map((each) => each * power).find((each) => each >= rough);
  const values = [];
  for (let n = 0; n * step <= most * 1.0001; ++n) values.push(n * step);
  return values;
}

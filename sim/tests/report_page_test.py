#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""report_page_test.py NESTWALK SAMPLES SOURCE: the page of `nestwalk report` in a browser."""

import json
import math
import os
import subprocess
import sys
import tempfile
import unittest

import browser

NESTWALK, SAMPLES, SOURCE = None, None, None

# Texts of the table by name; the matrix by run and cell; all that can be operated without a name.
ROWS = """Object.fromEntries([...document.querySelectorAll('.statistics tbody tr')].map(
  row => [row.dataset.name, [...row.querySelectorAll('.value')].map(each => each.textContent)]))"""
CELLS = """[...document.querySelectorAll('.matrix .cell')].map(cell => [
  cell.closest('.of-run').dataset.run, cell.dataset.cell, cell.dataset.referencesFrom,
  Number(cell.dataset.references), Number(cell.dataset.cycles)])"""
NAMELESS = """[...document.querySelectorAll(
    'button, input, select, summary, a, svg, [role=img], [tabindex="0"]')]
  .filter(each => !(each.getAttribute('aria-label') ?? each.labels?.[0]?.textContent ??
    each.textContent).trim()).map(each => each.outerHTML.slice(0, 200))"""
# WCAG 2.2, 1.4.3: 4.5 to 1 for text, 3 to 1 for large text (24 px, or 18.66 px bold), of relative
# luminances + 0.05. The background is that of the nearest ancestors that paint, one over another; of
# an image, the worst of its colours. Text of SVG is painted with `fill`.
CONTRAST = """(() => {
  const canvas = document.createElement('canvas').getContext('2d', {willReadFrequently: true});
  canvas.canvas.width = canvas.canvas.height = 1;
  const rgba = (colour) => {
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = colour;
    canvas.fillRect(0, 0, 1, 1);
    const [r, g, b, a] = canvas.getImageData(0, 0, 1, 1).data;
    return [r, g, b, a / 255];
  };
  const over = (top, under) => top.slice(0, 3).map((each, n) => each * top[3] + under[n] * (1 - top[3]));
  const luminance = (colour) => {
    const [r, g, b] = colour.map((each) => each / 255).map((each) =>
      each <= 0.04045 ? each / 12.92 : ((each + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ratio = (a, b) => {
    const [dark, light] = [luminance(a), luminance(b)].sort((x, y) => x - y);
    return (light + 0.05) / (dark + 0.05);
  };
  const backgrounds = (element) => {
    if (!element) return [[255, 255, 255]];
    const style = getComputedStyle(element);
    const own = rgba(style.backgroundColor);
    if (style.backgroundImage !== 'none') {
      const colours = style.backgroundImage.match(/(?:rgba?|color|oklab|oklch)\\([^()]*\\)/g) ?? [];
      return colours.map((each) => rgba(each).slice(0, 3));
    }
    if (own[3] === 1) return [own.slice(0, 3)];
    return backgrounds(element.parentElement).map((under) => over(own, under));
  };
  const poor = [];
  let seen = 0;
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walker.nextNode(); node; node = walker.nextNode()) {
    const element = node.parentElement;
    if (!node.textContent.trim() || element.closest('script, style, noscript, .unseen, title')) continue;
    if (!element.checkVisibility({checkOpacity: true}) || !element.getClientRects().length) continue;
    const style = getComputedStyle(element);
    const is_svg = element.namespaceURI.endsWith('svg');
    const size = parseFloat(style.fontSize);
    const needed = size >= 24 || (size >= 18.66 && Number(style.fontWeight) >= 700) ? 3 : 4.5;
    let opacity = 1;
    for (let each = element; each; each = each.parentElement) opacity *= getComputedStyle(each).opacity;
    const [r, g, b, a] = rgba(is_svg ? style.fill : style.color);
    for (const back of backgrounds(element)) {
      const found = ratio(over([r, g, b, a * opacity], back), back);
      ++seen;
      if (found < needed) {
        poor.push(`${found.toFixed(2)} < ${needed}: "${node.textContent.trim().slice(0, 40)}" in ` +
          `${element.localName}.${element.getAttribute('class')} in ${element.parentElement.className}`);
      }
    }
  }
  return {seen, poor: [...new Set(poor)]};
})()"""
# What can be operated, but not by the keyboard: neither in the order of tabs, nor reached by the
# arrow keys of a grid or chart of which another part is.
UNREACHABLE = """[...document.querySelectorAll('a, button, input, select, summary, [tabindex], [data-tip]')]
  .filter(each => each.checkVisibility() && each.tabIndex < 0 &&
    !each.parentElement.closest('[role=grid], svg')?.querySelector('[tabindex="0"]'))
  .map(each => each.outerHTML.slice(0, 200))"""
HEADINGS = "[...document.querySelectorAll('h1, h2, h3, h4')].map(each => Number(each.localName[1]))"
UNSCOPED = "[...document.querySelectorAll('th:not([scope])')].map(each => each.outerHTML)"
ROLELESS = """[...document.querySelectorAll('svg')].filter(each => !each.getAttribute('role') ||
  !(each.querySelector(':scope > title') || each.getAttribute('aria-label')))
  .map(each => each.outerHTML.slice(0, 200))"""
NOW = "document.querySelector('.now b').textContent"
SECTIONS = "[...document.querySelectorAll('section')].map(each => each.id)"
BACKGROUND = "getComputedStyle(document.body).backgroundColor"


def button(text):
    return ("[...document.querySelectorAll('button')].find("
            f"each => each.textContent === {json.dumps(text)}).click()")


def parts_of(name):
    """reference.guest1.nested0.update.l1.cycles: '1/0', 'l1', is it of cycles?"""
    parts = [each for each in name.split(".")[1:] if each != "update"]
    cycles = parts[-1] == "cycles"
    if cycles:
        parts.pop()
    source = parts.pop()
    guest = parts.pop(0).removeprefix("guest")
    return f"{guest}/{parts[0].removeprefix('nested') if parts else 'entry'}", source, cycles


class Page(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        folder = tempfile.TemporaryDirectory(prefix="nestwalk-page-")
        cls.addClassCleanup(folder.cleanup)
        cls.folder = folder.name

        def nestwalk(*arguments):
            subprocess.run([NESTWALK, *arguments], cwd=cls.folder, check=True,
                           stdout=subprocess.DEVNULL)

        trace = os.path.join(SAMPLES, "x86_64-nested.nwt")
        nestwalk("compare", trace, "-p", "zen4", "--policy", "lazy", "--policy", "lazy-2M",
                 "--phases", "--limit", "60000", "-o", "runs")
        cls.names = ["lazy", "lazy-2M"]
        cls.page = os.path.join(cls.folder, "report.html")
        cls.inputs = {}

        def printed(name, *arguments, codes=(0,)):
            made = subprocess.run([NESTWALK, *arguments], cwd=cls.folder, check=False,
                                  stdout=subprocess.PIPE)
            assert made.returncode in codes, arguments
            with open(os.path.join(cls.folder, name), "wb") as file:
                file.write(made.stdout)
            cls.inputs[name] = json.loads(made.stdout)

        printed("walk.json", "explain", trace, "-p", "zen4", "--policy", "lazy", "--limit", "60000",
                "--each-cause", "--json")
        printed("curves.json", "validate", "-p", "zen4", "--json", "--most", "1M", "--against",
                os.path.join(SOURCE, "bench/machines/epyc-7003-vm.json"))
        for case in ("bao-378", "axaddrspace-a1"):
            printed(case + ".json", "check", "--json",
                    os.path.join(SOURCE, f"models/checker/cases/{case}.log"), codes=(0, 3))
        nestwalk("trace", "gen", "random", "bytes=1M", "accesses=2000", "-o", "small.nwt")
        printed("sure.json", "compare", "--sure", "small.nwt", "-p", "zen4", "--policy", "lazy",
                "--policy", "eager", "--draws", "4", "--json", "--set", "guest.memory=16M")
        nestwalk("report", *("runs/" + each for each in cls.names), *cls.inputs, "-o", cls.page)
        cls.statistics = []
        for name in cls.names:
            with open(os.path.join(cls.folder, "runs", name, "stats.json")) as file:
                cls.statistics.append(json.load(file)["statistics"])
        cls.browser = browser.Browser()
        cls.addClassCleanup(cls.browser.close)

    def setUp(self):
        self.browser.open(self.page)

    def tearDown(self):
        self.assertEqual(self.browser.troubles, [])
        self.assertEqual({each for each in self.browser.requests if not each.startswith("data:")},
                         {"file://" + self.page})

    def test_every_section_is_there(self):
        self.assertEqual(self.browser.value(SECTIONS),
                         ["time", "walks", "walk", "latency", "phases", "spreads",
                          "calibration", "findings", "runs", "statistics"])
        self.assertEqual(self.browser.value("document.querySelectorAll('.plot svg').length"), 4)

    def test_the_table_has_the_values_of_stats_json(self):
        self.browser.value(button("all"))
        self.browser.value("document.querySelector('#statistics > button').click()")
        rows = self.browser.value(ROWS)
        self.assertEqual(set(rows), set(self.statistics[0]) | set(self.statistics[1]))
        for name, texts in rows.items():
            for text, statistics in zip(texts, self.statistics, strict=True):
                value = statistics.get(name)
                if value is None:
                    self.assertEqual(text, "–", name)
                else:
                    self.assertAlmostEqual(float(text.replace(",", "")), value, 6, name)

    def test_the_matrix_has_the_references_of_stats_json(self):
        expected = []
        for run, statistics in zip(self.names, self.statistics, strict=True):
            cells = {}
            for name, value in statistics.items():
                if not name.startswith("reference."):
                    continue
                place, source, cycles = parts_of(name)
                cell = cells.setdefault(place, [0, 0, {}])
                cell[cycles] += value
                if not cycles:
                    cell[2][source] = cell[2].get(source, 0) + value
            for place, (references, cycles, by) in cells.items():
                expected.append([run, place, max(by, key=by.get), references, cycles])
        self.assertGreater(len(expected), 20)
        self.assertCountEqual(self.browser.value(CELLS), expected)

    def test_a_bar_is_as_long_as_its_time(self):
        # All segments of a bar together, to that of the first one.
        lengths = self.browser.value("""[...document.querySelectorAll('.bars .stack')].map(bar =>
          [...bar.children].reduce((sum, each) => sum + parseFloat(each.style.width), 0))""")
        times = [each["time.ns"] for each in self.statistics]
        self.assertAlmostEqual(lengths[1] / lengths[0], times[1] / times[0], 4)
        self.assertAlmostEqual(max(lengths), 100, 2)

    def test_filter_and_order(self):
        self.browser.value(button("all"))
        self.browser.value("""(() => { const filter = document.querySelector('#statistics input');
          filter.value = 'walk.count*'; filter.dispatchEvent(new Event('input')); })()""")
        names = ["walk.count", "walk.count.reads", "walk.count.writes", "walk.count.fetches"]
        self.assertEqual(list(self.browser.value(ROWS)), names)
        self.browser.value("document.querySelectorAll('.statistics thead button')[1].click()")
        first = self.statistics[0]
        self.assertEqual(list(self.browser.value(ROWS)), sorted(names, key=first.get))

    def test_keys_move_in_the_matrix(self):
        self.browser.value("document.querySelector('.matrix [data-cell=\"1/1\"]').focus()")
        self.browser.press("ArrowRight", 39)
        self.browser.press("ArrowDown", 40)
        self.assertEqual(self.browser.value("document.activeElement.dataset.cell"), "0/0")
        self.assertEqual(self.browser.value("document.querySelector('.detail h3').textContent"),
                         "Second stage, level 0, for the guest's entry of level 0")

    def test_names_for_screen_readers(self):
        self.assertEqual(self.browser.value(NAMELESS), [])
        self.assertEqual(self.browser.value(
            "[...document.querySelectorAll('table')].filter(each => !each.caption).length"), 0)

    def test_a_walk_has_the_steps_of_explain(self):
        story = self.inputs["walk.json"][0]
        rows = self.browser.value("""[...document.querySelectorAll('.steps tbody tr')].map(row =>
          [...row.cells].map(each => each.textContent))""")
        self.assertEqual(len(rows), len(story["steps"]))
        for row, step in zip(rows, story["steps"], strict=True):
            self.assertEqual(
                [int(row[1].replace(",", "")), row[2], row[4], int(row[6].replace(",", ""))],
                [step["start"] - story["begin"], step["step"], step.get("address", "–"),
                 step["cycles"]])
        # At the end, each cell has the cycles of all that was read there.
        cells = {}
        for step in story["steps"]:
            guest, nested = step.get("guest_level"), step.get("nested_level")
            if guest is None and nested is None:
                continue
            place = f"{'data' if guest is None else guest}/{'entry' if nested is None else nested}"
            cells[place] = cells.get(place, 0) + step["cycles"]
        self.browser.value("document.querySelector('.player input').focus()")
        self.browser.press("End", 35)
        shown = self.browser.value("""[...document.querySelectorAll('.walk-grid .cell')].map(
          each => Number(each.dataset.cycles))""")
        self.assertCountEqual(shown, cells.values())

    def test_a_walk_is_stepped_by_keys_and_plays(self):
        count = len(self.inputs["walk.json"][0]["steps"])
        self.browser.value("document.querySelector('.player input').focus()")
        self.assertTrue(self.browser.value(NOW).startswith(f"Step 1 of {count}: "))
        self.browser.press("ArrowRight", 39)
        self.assertTrue(self.browser.value(NOW).startswith("Step 2 of "))
        self.browser.press("ArrowLeft", 37)
        self.browser.press(" ", 32)
        self.assertEqual(self.browser.value("document.querySelector('.play').textContent"), "Pause")
        # A step of a few cycles takes less than a second.
        self.browser.value("new Promise(done => setTimeout(done, 2500))")
        self.assertFalse(self.browser.value(NOW).startswith("Step 1 of "))
        self.browser.press(" ", 32)
        paused = self.browser.value(NOW)
        self.browser.value("new Promise(done => setTimeout(done, 1500))")
        self.assertEqual(self.browser.value(NOW), paused)

    def test_nothing_plays_where_motion_is_reduced(self):
        self.browser.send("Emulation.setEmulatedMedia", features=[
            {"name": "prefers-reduced-motion", "value": "reduce"}])
        self.browser.value("new Promise(done => requestAnimationFrame(() => setTimeout(done, 50)))")
        self.assertTrue(self.browser.value("document.querySelector('.play').hidden"))
        self.browser.value("document.querySelector('.player input').focus()")
        self.browser.press(" ", 32)
        self.browser.value("new Promise(done => setTimeout(done, 1200))")
        self.assertTrue(self.browser.value(NOW).startswith("Step 1 of "))

    def test_print_has_every_step(self):
        self.browser.send("Emulation.setEmulatedMedia", media="print")
        self.assertTrue(self.browser.value("""(() => {
          const list = document.querySelector('.step-list');
          return list.clientHeight >= list.scrollHeight - 1; })()"""))
        self.assertTrue(self.browser.value(
            "document.querySelector('.points tbody tr').getBoundingClientRect().height > 0"))
        self.browser.send("Emulation.setEmulatedMedia", media="")

    def test_curves_have_the_points_of_validate(self):
        curves = self.inputs["curves.json"]
        self.assertEqual(self.browser.value("document.querySelectorAll('.point').length"),
                         len(curves["points"]))
        rows = self.browser.value("""[...document.querySelectorAll('.points tbody tr')].map(row =>
          [...row.cells].map(each => each.textContent))""")
        for row, point in zip(rows, curves["points"], strict=True):
            self.assertEqual(row[0], point["point"])
            for text, name in ((row[1], "measured_ns"), (row[2], "simulated_ns")):
                self.assertAlmostEqual(float(text) / point[name], 1, 2)  # three digits
            self.assertAlmostEqual(float(row[3].replace("−", "-").rstrip(" %")),
                                   100 * point["error"], delta=0.051)
        # On a logarithmic axis, equal factors are equal distances.
        tips = self.browser.value("""[...document.querySelectorAll('.point.kind-0')].map(
          each => [Number(each.getAttribute('cx')), each.dataset.tip])""")
        first = curves["points"][0]
        sizes = sorted(each["bytes"] for each in curves["points"]
                       if [each["probe"], each["page_bytes"]] == [first["probe"], first["page_bytes"]])
        self.assertEqual(len(sizes), len(tips))
        self.assertGreater(len(sizes), 2)
        factors = [(b[0] - a[0]) / math.log2(d / c)
                   for a, b, c, d in zip(tips, tips[1:], sizes, sizes[1:])]
        self.assertLess(max(factors) - min(factors), 0.01)
        self.assertTrue(all("error" in tip for _, tip in tips))

    def test_findings_are_those_of_check_sorted_and_filtered(self):
        expected = [[each["finding"], each["count"]] for name in ("bao-378", "axaddrspace-a1")
                    for each in self.inputs[name + ".json"]["findings"]]
        self.assertGreater(len(expected), 1)
        rows = """[...document.querySelectorAll('.findings tbody tr')].map(row =>
          [row.dataset.finding, Number(row.dataset.count)])"""
        self.assertEqual(self.browser.value(rows), expected)
        self.browser.value("document.querySelector('[aria-label=\"sort by class\"]').click()")
        self.assertEqual([each[0] for each in self.browser.value(rows)],
                         sorted(each[0] for each in expected))
        self.browser.value(f"""(() => {{ const filter = document.querySelector('#findings input');
          filter.value = {json.dumps(expected[0][0].split()[0])};
          filter.dispatchEvent(new Event('input')); }})()""")
        self.assertIn(expected[0], self.browser.value(rows))
        text = self.browser.value("document.querySelector('.findings tbody').textContent")
        first = self.inputs["bao-378.json"]["findings"][0]
        for each in (first["demanded"], first["manual"], first["section"]):
            self.assertIn(each, text)

    def test_spreads_are_those_of_compare(self):
        cases = self.inputs["sure.json"]["cases"]
        rows = self.browser.value("""[...document.querySelectorAll('.spreads tbody tr')].map(row =>
          [...row.cells].map(each => each.textContent))""")
        for row, case in zip(rows, cases, strict=True):
            spread = case["statistics"]["time.ns"]
            self.assertEqual(row[0], case["name"])
            for text, name in zip(row[1:], ("preset", "least", "p5", "median", "p95", "most"),
                                  strict=True):
                self.assertAlmostEqual(float(text.replace(",", "")), spread[name], 5)

    def test_contrast_is_that_of_wcag_aa(self):
        for dark in (False, True):
            self.browser.open(self.page, dark=dark)
            self.browser.value("document.querySelector('details').open = true")
            found = self.browser.value(CONTRAST)
            self.assertGreater(found["seen"], 500)
            self.assertEqual(found["poor"], [], "dark" if dark else "light")

    def test_everything_is_reached_by_the_keyboard(self):
        self.assertEqual(self.browser.value(UNREACHABLE), [])

    def test_structure(self):
        levels = self.browser.value(HEADINGS)
        self.assertEqual(levels.count(1), 1)
        self.assertEqual(levels[0], 1)
        self.assertTrue(all(b <= a + 1 for a, b in zip(levels, levels[1:])), levels)
        self.assertEqual(self.browser.value(UNSCOPED), [])
        self.assertEqual(self.browser.value(ROLELESS), [])

    def test_dark_and_light(self):
        light = self.browser.value(BACKGROUND)
        self.browser.open(self.page, dark=True)
        dark = self.browser.value(BACKGROUND)
        self.assertNotEqual(light, dark)
        self.browser.value("document.querySelector('.theme').click()")  # from auto to light
        self.assertEqual(self.browser.value(BACKGROUND), light)
        self.browser.value("localStorage.clear()")

    def test_no_width_needs_scrolling_sideways(self):
        for width in (1400, 800, 400):
            self.browser.open(self.page, width)
            self.assertLessEqual(
                self.browser.value("document.documentElement.scrollWidth"), width)

    def test_size(self):
        data = self.browser.value("document.getElementById('data').textContent.length")
        size = os.path.getsize(self.page)
        self.assertLess(size, 2 << 20)
        self.assertLess(size - data, 300 << 10)


if __name__ == "__main__":
    if browser.find_browser() is None:
        print("the page is not tested: no " + ", ".join(browser.NAMES))
        sys.exit(77)
    NESTWALK, SAMPLES, SOURCE = map(os.path.abspath, sys.argv[1:4])
    unittest.main(argv=sys.argv[:1])

#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""report_page_test.py NESTWALK SAMPLES: the page of `nestwalk report` in a browser."""

import json
import os
import subprocess
import sys
import tempfile
import unittest

import browser

NESTWALK, SAMPLES = None, None

# Texts of the table by name; the matrix by run and cell; all that can be operated without a name.
ROWS = """Object.fromEntries([...document.querySelectorAll('.statistics tbody tr')].map(
  row => [row.dataset.name, [...row.querySelectorAll('.value')].map(each => each.textContent)]))"""
CELLS = """[...document.querySelectorAll('.matrix .cell')].map(cell => [
  cell.closest('.of-run').dataset.run, cell.dataset.cell, cell.dataset.referencesFrom,
  Number(cell.dataset.references), Number(cell.dataset.cycles)])"""
NAMELESS = """[...document.querySelectorAll('button, input, a, [tabindex="0"]')].filter(
  each => !(each.getAttribute('aria-label') ?? each.textContent).trim()).map(each => each.outerHTML)"""
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
        nestwalk("report", *("runs/" + each for each in cls.names), "-o", cls.page)
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
                         ["time", "walks", "latency", "phases", "runs", "statistics"])
        self.assertEqual(self.browser.value("document.querySelectorAll('.plot svg').length"), 2)

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
        self.browser.value("""(() => { const filter = document.querySelector('input');
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
    NESTWALK, SAMPLES = map(os.path.abspath, sys.argv[1:3])
    unittest.main(argv=sys.argv[:1])

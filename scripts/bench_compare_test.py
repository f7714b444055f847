#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0
"""scripts/bench-compare: its statistics against published tables and by hand, its table on results
that were written here."""

import contextlib
import importlib.machinery
import importlib.util
import io
import json
import os
import shutil
import subprocess
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "bench-compare")
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("bench_compare", SCRIPT)
bench_compare = importlib.util.module_from_spec(importlib.util.spec_from_loader("bench_compare",
                                                                               loader))
loader.exec_module(bench_compare)


def results(**benchmarks):
    rows = [{"name": name, "run_name": name, "run_type": "iteration", "cpu_time": time,
             "time_unit": "us"} for name, times in benchmarks.items() for time in times]
    rows.append({"name": "sum_mean", "run_name": "sum", "run_type": "aggregate", "cpu_time": 1,
                 "time_unit": "us"})
    return {"benchmarks": rows}


class MannWhitney(unittest.TestCase):
    def test_critical_values_are_those_of_the_published_table(self):
        # Two-sided, 5 %: the largest U that is significant (Mann and Whitney's table, as in
        # textbooks of statistics).
        for m, n, critical in ((4, 4, 0), (5, 5, 2), (5, 8, 6), (8, 8, 13), (9, 9, 17),
                               (10, 10, 23), (15, 15, 64), (20, 20, 127)):
            self.assertLessEqual(2 * bench_compare.exact_tail(m, n, critical), 0.05, (m, n))
            self.assertGreater(2 * bench_compare.exact_tail(m, n, critical + 1), 0.05, (m, n))

    def test_small_cases_are_those_counted_by_hand(self):
        # Of the 20 orders of three and three, one has U = 0, and one its mirror image.
        self.assertAlmostEqual(bench_compare.mann_whitney([1, 2, 3], [4, 5, 6]), 2 / 20)
        # 1 2 4 against 3 5 6: U = 1 (4 above 3); U = 0 and U = 1 have one order each.
        self.assertAlmostEqual(bench_compare.mann_whitney([1, 2, 4], [3, 5, 6]), 4 / 20)
        self.assertAlmostEqual(bench_compare.mann_whitney([4, 5, 6], [1, 2, 3]), 2 / 20)

    def test_ties_use_the_normal_distribution(self):
        self.assertEqual(bench_compare.mann_whitney([7] * 9, [7] * 9), 1.0)
        # 1 1 2 against 2 3 3: U = 0.5; ties of 2, 2 and 2: 3 * (8 - 2) = 18. Variance
        # 9 / 12 * (7 - 18 / 30) = 4.8; z = (4 - 0.5) / 2.19089 = 1.5975; p = 0.110 (tables).
        self.assertAlmostEqual(bench_compare.mann_whitney([1, 1, 2], [2, 3, 3]), 0.110, places=3)


class Spread(unittest.TestCase):
    def test_is_the_interval_of_the_median(self):
        # Of nine, from the second to the eighth: 1 - 2 * (1 + 9) / 512 = 96 %.
        self.assertAlmostEqual(bench_compare.spread([1, 2, 3, 4, 5, 6, 7, 8, 9]), 3 / 5)
        # Of five even the whole range has 1 - 2 / 32 = 94 % only.
        self.assertIsNone(bench_compare.spread([1, 2, 3, 4, 5]))


class Table(unittest.TestCase):
    def compare(self, base, change):
        with tempfile.TemporaryDirectory() as folder:
            files = [os.path.join(folder, name) for name in ("base", "change")]
            for file, content in zip(files, (base, change)):
                with open(file, "w", encoding="utf-8") as out:
                    out.write(content)
            return subprocess.run([SCRIPT, "--from-json", *files], capture_output=True, text=True,
                                  check=False)

    def test_says_what_changed_and_what_is_chance(self):
        base = results(walk=range(100, 109), hit=[1, 3, 5, 7, 9, 11, 13, 15, 17], old=[1])
        change = results(walk=range(50, 59), hit=[2, 4, 6, 8, 10, 12, 14, 16, 18], new=[1])
        done = self.compare(json.dumps(base), json.dumps(change))
        self.assertEqual(done.returncode, 0, done.stderr)
        # 54 / 104 - 1; p = 2 / 48620. For hit, U is 0 + 1 + ... + 8 = 36, where 17 would be
        # significant.
        rows = [line.split() for line in done.stdout.splitlines()]
        self.assertEqual(rows[1], "walk 104 us ± 3% 54 us ± 6% -48.08% 0.000 9+9".split())
        self.assertEqual(rows[2][:2] + rows[2][-3:-2] + rows[2][-1:], ["hit", "9", "~", "9+9"])
        self.assertEqual(rows[3], "old 1 us ± ∞ is gone 1".split())
        self.assertEqual(rows[4], "new is new 1 us ± ∞ 1".split())
        self.assertEqual(len(rows), 5)

    def test_bad_results_are_one_line(self):
        done = self.compare("{}", "[]")
        self.assertEqual(done.returncode, 4)
        self.assertEqual(len(done.stderr.splitlines()), 1)
        self.assertIn("base: expected results of Google Benchmark, found", done.stderr)


PROGRAM = os.path.join(bench_compare.HERE, "build/release/sim/nestwalk")


class Gate(unittest.TestCase):
    @unittest.skipUnless(shutil.which("valgrind") and os.path.exists(PROGRAM), "needs both")
    def test_replays_run_under_valgrind(self):
        words = [word.replace("run.limit=30000", "run.limit=1") for word in bench_compare.REPLAYS[0]]
        self.assertGreater(bench_compare.instructions_of(PROGRAM, words), 1_000_000)

    def test_fails_when_instructions_grow_by_more_than_allowed(self):
        for change, code in ((1009, 0), (1010, 0), (1011, 3), (900, 0)):
            with contextlib.redirect_stdout(io.StringIO()):
                found = bench_compare.compare_instructions([("a", 1000, change)], 1.0)
            self.assertEqual(found, code)


if __name__ == "__main__":
    unittest.main()

# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0
"""What docs/sweeps.md shows is run: its SPEC, GNU parallel, Snakemake, sqlite3 and pandas. What is not
installed is left out, and named; without any of them the test is skipped (exit 77)."""

import os
import re
import shutil
import subprocess
import sys
import tempfile

PROGRAM, PAGE, TRACE = (os.path.abspath(path) for path in sys.argv[1:4])


def blocks(page, kind):
    return re.findall(rf"(?:<!-- example: (\w+) -->\n)?```{kind}\n(.*?)```", page, re.S)


def main():
    page = open(PAGE).read()
    with tempfile.TemporaryDirectory() as folder:
        os.symlink(PROGRAM, f"{folder}/nestwalk")
        os.symlink(TRACE, f"{folder}/guest.nwt")
        environment = dict(os.environ, PATH=f"{folder}:{os.environ['PATH']}", HOME=folder)

        def run(*command):
            done = subprocess.run(command, cwd=folder, env=environment, capture_output=True,
                                  text=True)
            if done.returncode != 0:
                sys.exit(f"{command}: exit {done.returncode}\n{done.stdout}{done.stderr}")
            return done.stdout

        spec = blocks(page, "json")[0][1].replace("200000", "2000")
        open(f"{folder}/tlb.json", "w").write(spec)
        run("nestwalk", "sweep", "tlb.json", "-o", "tlb.sqlite")
        whole = run("nestwalk", "sweep", "--export", "json", "tlb.sqlite")

        def expect_whole(what):
            if run("nestwalk", "sweep", "--export", "json", "all.sqlite") != whole:
                sys.exit(f"{what}: another result than without it")
            for name in os.listdir(folder):
                if name == "all.sqlite" or name.startswith("part"):
                    os.remove(f"{folder}/{name}")
            print(what)

        tried = 0
        if shutil.which("parallel"):
            run("bash", "-ec", dict(blocks(page, "sh"))["parallel"])
            expect_whole("GNU parallel")
            tried += 1
        else:
            print("not installed: GNU parallel")
        if shutil.which("snakemake"):
            open(f"{folder}/Snakefile", "w").write(dict(blocks(page, "python"))["Snakefile"])
            run("snakemake", "--cores", "2", "--quiet")
            expect_whole("Snakemake")
            tried += 1
        else:
            print("not installed: Snakemake")
        # Two policies, five sizes, two nested TLBs: 20 points of each number of slots.
        if shutil.which("sqlite3"):
            command = next(text for _, text in blocks(page, "sh") if text.startswith("sqlite3"))
            rows = run("bash", "-ec", command).splitlines()
            if sorted(row.split("|")[0] for row in rows) != ["1", "2", "4", "6", "8"]:
                sys.exit(f"sqlite3: {rows}")
            tried += 1
        else:
            print("not installed: sqlite3")
        if subprocess.run([sys.executable, "-c", "import pandas"], capture_output=True).returncode:
            print("not installed: pandas")
        else:
            code = next(text for _, text in blocks(page, "python") if "pandas" in text)
            found = run(sys.executable, "-c", code)
            if re.findall(r"^(\d) ", found, re.M) != ["1", "2", "4", "6", "8"]:
                sys.exit(f"pandas: {found}")
            tried += 1
        if tried == 0:
            print("skipped: none of these is installed")
            sys.exit(77)


main()

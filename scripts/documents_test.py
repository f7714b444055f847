#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0
"""scripts/documents, on documents that were written here, with a program that was, too."""

import importlib.machinery
import importlib.util
import os
import sys
import tempfile
import unittest

SCRIPT = os.path.join(os.path.dirname(os.path.abspath(__file__)), "documents")
sys.dont_write_bytecode = True
loader = importlib.machinery.SourceFileLoader("documents", SCRIPT)
documents = importlib.util.module_from_spec(importlib.util.spec_from_loader("documents", loader))
loader.exec_module(documents)

# Says its arguments; its only command is `run`, whose only option is --all.
PROGRAM = """#!/bin/sh
for last; do :; done
if [ "$last" = "--help" ]; then [ "$1" = run ] && echo "  -a [ --all ]"; exit; fi
echo "said $*"
"""


class Tree(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.root = self.folder.name
        self.write("program", PROGRAM)
        os.chmod(os.path.join(self.root, "program"), 0o755)
        self.write("traces/a.nwt", "trace\n")

    def tearDown(self):
        self.folder.cleanup()

    def write(self, name, text):
        path = os.path.join(self.root, name)
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(path, "w", encoding="utf-8") as file:
            file.write(text)

    def found(self, text, update=False):
        self.write("README.md", text)
        checked = documents.Documents(self.root, os.path.join(self.root, "program"))
        checked.check_blocks("README.md", update)
        checked.look("README.md")
        checked.check_links("README.md")
        return checked.found

    def text(self):
        return "\n".join(documents.Documents(self.root, "").read("README.md"))


class Commands(Tree):
    def test_output_has_to_be_what_is_shown(self):
        self.assertEqual(self.found("```console\n$ nestwalk run x\nsaid run x\n```\n"), [])
        found = self.found("one\n\n```console\n$ nestwalk run x\nsaid run y\n```\n")
        self.assertEqual(len(found), 1)
        self.assertIn("README.md:4: $ nestwalk run x", found[0])
        self.assertIn("-said run y\n+said run x", found[0])

    def test_lines_that_are_missing_or_too_many_are_found(self):
        self.assertEqual(len(self.found("```console\n$ printf 'a\\nb\\n'\na\n```\n")), 1)
        self.assertEqual(len(self.found("```console\n$ printf 'a\\n'\na\nb\n```\n")), 1)

    def test_commands_follow_each_other_in_a_folder_with_links_to_the_tree(self):
        self.assertEqual(self.found(
            "```console\n$ cp traces/a.nwt b\n$ cat \\\n  b\ntrace\n```\n"), [])
        self.assertFalse(os.path.exists(os.path.join(self.root, "b")))

    def test_a_block_can_be_a_file(self):
        self.assertEqual(self.found("<!-- documents: file c.json -->\n```json\n{}\n```\n"
                                    "```console\n$ cat c.json\n{}\n```\n"), [])

    def test_update_writes_outputs_and_nothing_else(self):
        before = "# One\n\n```console\n$ nestwalk run x\nold\nolder\n$ true\n```\nend\n"
        self.assertEqual(self.found(before, update=True), [])
        self.assertEqual(self.text(), before.replace("old\nolder", "said run x"))


class NotRun(Tree):
    MARK = "<!-- documents: not run, takes long -->\n"

    def test_options_and_commands_have_to_exist(self):
        block = self.MARK + "```console\n$ nestwalk %s\nwhatever\n```\n"
        self.assertEqual(self.found(block % "run x --all -a"), [])
        self.assertEqual(self.found(block % "run x --al"),
                         ["README.md:3: nestwalk run has no option --al"])
        self.assertEqual(self.found(block % "walk x"), ["README.md:3: there is no command nestwalk walk"])

    def test_files_of_the_tree_have_to_exist(self):
        self.assertEqual(self.found("```sh\nnestwalk run traces/a.nwt  # and more\n```\n"), [])
        self.assertEqual(self.found("```sh\nnestwalk run traces/b.nwt | head\n```\n"),
                         ["README.md:2: there is no traces/b.nwt"])
        self.assertEqual(self.found("```sh\nscripts/none\n```\n")[0],
                         "README.md:2: there is no scripts/none")

    def test_a_quotation_may_have_several_lines(self):
        self.assertEqual(self.found("```sh\nnestwalk run 'a\nb' --all\n```\n"), [])
        self.assertEqual(len(self.found("```sh\nnestwalk run 'a\nb' --none\n```\n")), 1)
        self.assertEqual(len(self.found("```sh\nnestwalk run 'a\n```\n")), 1)


class Links(Tree):
    def test_files_and_headings_have_to_exist(self):
        self.write("docs/one.md", "# One\n## `b` and C: d?\n## One\n```sh\n# no heading\n```\n")
        self.assertEqual(self.found("[a](docs/one.md) [b](docs/one.md#b-and-c-d) ![c](traces/a.nwt) "
                                    "[d](docs/one.md#one-1) [e](https://example.org/none)"), [])
        self.assertEqual(self.found("x\n[a](docs/two.md)"),
                         ["README.md:2: links to docs/two.md: there is no docs/two.md"])
        self.assertEqual(self.found("[a](docs/one.md#no-heading)"),
                         ["README.md:1: links to docs/one.md#no-heading: docs/one.md has no such heading"])

    def test_code_has_no_links(self):
        self.assertEqual(self.found("`[a](none.md)`\n```\n[a](none.md)\n```\n"), [])


if __name__ == "__main__":
    unittest.main()

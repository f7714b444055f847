#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""sarif_test PROGRAM FOLDER: `nestwalk check --format sarif` of each log in the folder is SARIF 2.1.0.

What the standard requires of the objects that occur is asserted here by section; where the file
$SARIF_SCHEMA is the official JSON schema (sarif-schema-2.1.0.json), all is validated against that."""

import json
import os
import pathlib
import re
import subprocess
import sys
import unittest

PROGRAM, FOLDER = (pathlib.Path(sys.argv.pop(1)).resolve() for _ in range(2))
LEVELS = {"none", "note", "warning", "error"}  # 3.27.10
URI = re.compile(r"(file:///)?([A-Za-z0-9\-._~/]|%[0-9A-F]{2})+\Z")


def sarif_of(log, folder=None, **more):
    done = subprocess.run([PROGRAM, "check", "--format", "sarif", log], cwd=folder, text=True,
                          capture_output=True, check=False, **more)
    assert done.returncode in (0, 3), done.stderr
    return json.loads(done.stdout)


class Sarif(unittest.TestCase):
    def check_text(self, message):
        self.assertIsInstance(message["text"], str)  # 3.11.8, 3.12.3
        self.assertTrue(message["text"])

    def check_location(self, location, artifacts, lines):
        physical = location["physicalLocation"]
        artifact = physical["artifactLocation"]
        self.assertRegex(artifact["uri"], URI)  # 3.4.3
        self.assertEqual(artifacts[artifact["index"]]["location"]["uri"], artifact["uri"])
        start = physical["region"]["startLine"]  # 3.30.5: positive
        self.assertIsInstance(start, int)
        self.assertTrue(1 <= start <= lines, start)
        for logical in location.get("logicalLocations", []):
            self.assertTrue(logical["name"])  # 3.33.4
        return start

    def check_document(self, document, lines):
        self.assertEqual(document["version"], "2.1.0")  # 3.13.2
        self.assertTrue(document["$schema"].startswith("https://"))
        self.assertEqual(len(document["runs"]), 1)  # 3.13.4
        run = document["runs"][0]
        driver = run["tool"]["driver"]  # 3.14.6, 3.18.2
        self.assertEqual(driver["name"], "nestwalk")  # 3.19.8
        rules = driver["rules"]
        self.assertEqual(len({rule["id"] for rule in rules}), len(rules))  # 3.19.23: unique
        for rule in rules:
            self.assertRegex(rule["id"], r"\Afence/[a-z-]+\Z")  # 3.49.3
            for text in ("shortDescription", "fullDescription", "help"):
                self.check_text(rule[text])
            self.assertIn("(", rule["help"]["text"])  # the manual's section
            self.assertIn(rule["defaultConfiguration"]["level"], LEVELS)
        self.assertIs(run["invocations"][0]["executionSuccessful"], True)  # 3.20.14
        for result in run["results"]:
            self.check_text(result["message"])  # 3.27.11
            rule = rules[result["ruleIndex"]]  # 3.27.6
            self.assertEqual(rule["id"], result["ruleId"])
            self.assertEqual(rule["defaultConfiguration"]["level"], result["level"])
            self.assertGreaterEqual(result["occurrenceCount"], 1)  # 3.27.18
            for value in result["partialFingerprints"].values():
                self.assertIsInstance(value, str)  # 3.27.17
            self.assertEqual(len(result["locations"]), 1)
            starts = [self.check_location(each, run["artifacts"], lines)
                      for each in result["locations"] + result.get("relatedLocations", [])]
            ids = [each["id"] for each in result.get("relatedLocations", [])]
            self.assertEqual(len(set(ids)), len(ids))  # 3.28.2
            for each in result.get("relatedLocations", []):
                self.check_text(each["message"])
            self.assertEqual(starts[0], result["properties"]["line"])
        return run["results"]

    def test_each_case_is_valid(self):
        validator = None
        if "SARIF_SCHEMA" in os.environ:
            import jsonschema
            schema = json.loads(pathlib.Path(os.environ["SARIF_SCHEMA"]).read_text())
            validator = jsonschema.validators.validator_for(schema)(schema)
        logs = sorted(FOLDER.glob("*.log"))
        self.assertTrue(logs)
        for log in logs:
            with self.subTest(log.name):
                text = log.read_text()
                document = sarif_of(str(log))
                results = self.check_document(document, text.count("\n"))
                expected = re.search("^# expected: (.*)$", text, re.M).group(1)
                found = sorted({each["properties"]["finding"] for each in results})
                self.assertEqual(", ".join(found) or "nothing", expected)
                if validator is not None:
                    validator.validate(document)

    def test_function_and_lines_are_those_of_the_log(self):
        # 1 the format, 2 the VM, 3 to 6 its tables, 7 enter, 8 begin, 9 store, 10 fence, 11 end.
        log = ("nestwalk-fence-log 1\n0 0 vm 1 ept root=0x10000\n0 0 store 0x10000 0 0x21007\n"
               "0 0 store 0x21000 0 0x22007\n0 0 store 0x22000 0 0x23007\n"
               "0 0 store 0x23028 0 0x95037\n0 1 enter 1\n7 0 begin unmap\n"
               "8 0 store 0x23028 0x95037 0 @zap+0x1c\n"
               "8 0 fence - invept single-context, 0x10000 @flush+0x8\n9 0 end\n")
        document = sarif_of("-", input=log)
        result, = self.check_document(document, log.count("\n"))
        location, = result["locations"]
        self.assertEqual(location["physicalLocation"]["region"]["startLine"], 9)
        self.assertEqual(location["logicalLocations"], [
            {"name": "zap", "fullyQualifiedName": "zap+0x1c", "kind": "function"}])
        related = [(each["physicalLocation"]["region"]["startLine"], each["message"]["text"])
                   for each in result["relatedLocations"]]
        self.assertEqual(related, [(10, "issued: invept single-context (EPTP 0x10000)"),
                                   (11, "violated when the operation returned")])
        self.assertIn("executed on processor 0 alone", result["message"]["text"])
        self.assertEqual(result["ruleId"], "fence/wrong-processors")
        self.assertEqual(result["locations"][0]["physicalLocation"]["artifactLocation"]["uri"],
                         "stdin")

    def test_names_of_files_are_uris(self):
        import tempfile
        with tempfile.TemporaryDirectory() as folder:
            name = "a log: 1%.log"
            text = (FOLDER / "axaddrspace-a7.log").read_text()
            pathlib.Path(folder, name).write_text(text)
            document = sarif_of(name, folder)
            self.check_document(document, text.count("\n"))
            uri = document["runs"][0]["artifacts"][0]["location"]["uri"]
            self.assertEqual(uri, "a%20log%3A%201%25.log")

    def test_traces_have_no_lines(self):
        done = subprocess.run([PROGRAM, "check", "--storm", "accesses=300", "--format", "sarif"],
                              text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 2)
        self.assertIn("--format sarif is for logs", done.stderr)


if __name__ == "__main__":
    unittest.main()

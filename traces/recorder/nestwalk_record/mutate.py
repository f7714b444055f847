# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Mutants of a recorded hypervisor: its log without what one place issued.

What came after is what a machine did whose hypervisor fenced. One thing is added that a machine may
do without the fence: where the guest was entered again after a fault, it takes the same fault once
more, as a stale entry would have it. So fences that only spare faults are missed as well.
"""

import argparse
import collections
import json
import subprocess
import sys
from dataclasses import dataclass, field

from .errors import RecordError, exit_status
from .hypervisor import instruction_in, lines_of
from .record import find_nestwalk

# Of the first stage alone: a guest may have asked for them, which no log tells.
GUESTS = ("hfence.vvma", "hinval.vvma", "tlbi vae1", "tlbi vaae1", "tlbi vale1", "tlbi vaale1",
          "tlbi aside1", "invlpga")
BARRIERS = ("dsb", "isb", "sfence.w.inval", "sfence.inval.ir", "tlbsync")


def say(text):
    print(f"mutate-hypervisor: {text}", file=sys.stderr, flush=True)


@dataclass
class Place:
    """Where the hypervisor fences, and by what."""
    site: str
    instruction: str
    executed: int = 0
    errors: int = 0  # of the log without it, beyond those of the log
    kinds: list = field(default_factory=list)
    excess: int = 0  # of its executions, in the log as it is

    def is_barrier(self):
        return self.instruction.split()[0] in BARRIERS

    def may_be_the_guests(self):
        return self.instruction.startswith(GUESTS)

    def verdict(self):
        if self.errors > 0:
            return "found"
        if self.may_be_the_guests():
            return "the guest's"
        if self.is_barrier():
            return "others suffice"
        return "excess" if self.excess == self.executed else "not found"


def site_in(words):
    return words[-1][1:] if words[-1].startswith("@") else ""


def places_in(lines):
    places, has_vm = {}, False
    for line in lines:
        words = line.split()
        event = words[2] if len(words) > 2 else ""
        has_vm = has_vm or event == "vm"
        if event != "fence" or not (site := site_in(words)):
            continue
        instruction = instruction_in(words)
        place = places.setdefault((site, instruction), Place(site, instruction))
        place.executed += 1
        place.excess += not has_vm  # nothing of any guest is cached yet
    return list(places.values())


def without(lines, place):
    """The log if the place had not fenced."""
    faults, again = {}, {}  # by processor: its last fault since it entered; to be taken again
    for line in lines:
        words = line.split()
        event = words[2] if len(words) > 2 else ""
        if event == "fence" and site_in(words) == place.site and \
                instruction_in(words) == place.instruction:
            again[words[1]] = faults.get(words[1])
            continue
        yield line
        if event == "fault":
            faults[words[1]] = words[3:]
        elif event == "enter":
            fault = again.pop(words[1], None)
            faults.pop(words[1], None)
            if fault and fault[0] == words[3]:
                start, vm = " ".join(words[:2]), words[3]
                yield f"{start} fault {' '.join(fault)}\n{start} exit {vm}\n{start} enter {vm}\n"


def findings_of(nestwalk, lines):
    done = subprocess.run([nestwalk, "check", "--json", "-"], input="".join(lines), text=True,
                          capture_output=True, check=False)
    if done.returncode not in (0, 3):
        raise RecordError(f"nestwalk check: {done.stderr.strip()}")
    return json.loads(done.stdout)


def errors_by_kind(findings):
    kinds = collections.Counter()
    for each in findings["findings"]:
        if each["severity"] == "error":
            kinds[each["finding"]] += each["count"]
    return kinds


def judge(place, clean, mutant):
    """What the log has without the place that it does not have with it."""
    more = errors_by_kind(mutant) - errors_by_kind(clean)
    place.errors = sum(more.values())
    place.kinds = [f"{name} {count}" for name, count in more.most_common()]
    place.excess += sum(each["count"] for each in clean["findings"]
                        if each["finding"] == "excess" and each.get("site") == place.site)


def table(places):
    rows = [("fence", "at", "executed", "verdict", "errors without it")]
    for place in sorted(places, key=lambda each: (each.is_barrier(), -each.executed)):
        rows.append((place.instruction, place.site, str(place.executed), place.verdict(),
                     ", ".join(place.kinds) or "none"))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    return "\n".join("  ".join(word.ljust(width) for word, width in zip(row, widths)).rstrip()
                     for row in rows)


def score(places):
    """Of the fences that the recording needed, how many are missed when they are not there."""
    verdicts = [place.verdict() for place in places if not place.is_barrier()]
    needed = [verdict for verdict in verdicts if verdict in ("found", "not found")]
    found = needed.count("found")
    text = f"found when taken out: {found} of {len(needed)} places whose fences were needed"
    for verdict, what in (("excess", "fence in vain"), ("the guest's", "may be the guest's own")):
        if verdict in verdicts:
            text += f"; {verdicts.count(verdict)} {what}"
    barriers = [place.verdict() for place in places if place.is_barrier()]
    if barriers:
        text += f"; of barriers {barriers.count('found')} of {len(barriers)}"
    return text, found == len(needed)


def mutate(options):
    nestwalk = find_nestwalk()
    if not nestwalk:
        raise RecordError("the program nestwalk is not built here")
    lines = list(lines_of(options.log))
    places = places_in(lines)
    if not places:
        raise RecordError(f"{options.log}: expected fences with the place where they were issued, "
                          "found none")
    clean = findings_of(nestwalk, lines)
    say(f"{options.log}: {clean['errors']} errors; {len(places)} places fence")
    for place in places:
        judge(place, clean, findings_of(nestwalk, without(lines, place)))
    print(table(places))
    text, all_found = score(places)
    print(text)
    if not all_found:
        say("a place whose fences were needed was taken out, and not found")
    return all_found


def main(arguments):
    parser = argparse.ArgumentParser(
        prog="mutate-hypervisor",
        description="Takes each place that fences out of a recorded hypervisor's log, one at a "
                    "time, and says whether nestwalk check finds that it is gone. Exit code 3 if one "
                    "that was needed is not found.")
    parser.add_argument("log", metavar="LOG",
                        help="of scripts/record --hypervisor; may be compressed")
    options = parser.parse_args(arguments)
    found = []
    status = exit_status(say, lambda: found.append(mutate(options)))
    return status if status != 0 or all(found) else 3

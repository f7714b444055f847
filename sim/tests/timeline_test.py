#!/usr/bin/env python3
# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""timeline_test.py NESTWALK: what `nestwalk run --timeline` writes, as protoc decodes it."""

import ast
import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest

NESTWALK = None
HERE = os.path.dirname(os.path.abspath(__file__))
PROTO = os.path.join(HERE, "perfetto")

Slice = collections.namedtuple("Slice", "track name begin end arguments flows ending depth parents")


def parsed(text):
    """protoc's text format: a message is a list of (name, value)."""
    top = []
    stack = [top]
    for line in text.splitlines():
        line = line.strip()
        if line.endswith("{"):
            message = []
            stack[-1].append((line[:-1].strip(), message))
            stack.append(message)
        elif line == "}":
            stack.pop()
        else:
            name, value = line.split(": ", 1)
            stack[-1].append((name, value if value.startswith("TYPE_") or
                              value.startswith("UNIT_") else ast.literal_eval(value)))
    return top


class Timeline:
    """Raises AssertionError where slices do not nest, or names and tracks are not declared."""

    def __init__(self, file):
        with open(file, "rb") as data:
            text = subprocess.run(["protoc", "--decode=Trace", f"--proto_path={PROTO}", "trace.proto"],
                                  stdin=data, capture_output=True, check=True).stdout.decode()
        self.tracks, self.parents, self.processes, self.threads = {}, {}, {}, {}
        self.counters = collections.defaultdict(list)
        self.slices, self.instants = [], []
        names = {"event_names": {}, "debug_annotation_names": {}}
        events = []
        for position, (kind, packet) in enumerate(parsed(text)):
            assert kind == "packet", kind
            fields = dict(packet)
            assert "1:" not in fields, "a field that the format does not have"
            assert fields["trusted_packet_sequence_id"] == 1
            # The first clears the state, all need it.
            assert fields["sequence_flags"] == (3 if position == 0 else 2)
            for kind, entry in fields.get("interned_data", []):
                entry = dict(entry)
                assert entry["iid"] not in names[kind]
                names[kind][entry["iid"]] = entry["name"]
            if "track_descriptor" in fields:
                self.describe(dict(fields["track_descriptor"]))
            if "track_event" in fields:
                event = dict(fields["track_event"])
                assert event["track_uuid"] in self.tracks
                if "name_iid" in event:
                    event["name"] = names["event_names"][event["name_iid"]]
                arguments = {}
                flows = []
                for name, value in fields["track_event"]:
                    if name == "debug_annotations":
                        (_, iid), (_, what) = value
                        arguments[names["debug_annotation_names"][iid]] = what
                    if name == "flow_ids":
                        flows.append(value)
                events.append((fields["timestamp"], event, arguments, flows))
        # As Perfetto's importer does: by time; of the same time, as in the file.
        events.sort(key=lambda each: each[0])
        self.play(events)

    def describe(self, track):
        uuid = track["uuid"]
        assert uuid not in self.tracks
        if "parent_uuid" in track:
            assert track["parent_uuid"] in self.tracks
            self.parents[uuid] = track["parent_uuid"]
        name = track.get("name")
        if "process" in track:
            process = dict(track["process"])
            name = process["process_name"]
            assert process["pid"] not in self.processes
            self.processes[process["pid"]] = name
        if "thread" in track:
            thread = dict(track["thread"])
            name = thread["thread_name"]
            assert thread["pid"] in self.processes and thread["tid"] not in self.threads
            assert thread["pid"] != thread["tid"]
            self.threads[thread["tid"]] = name
        self.tracks[uuid] = name

    def play(self, events):
        open_on = collections.defaultdict(list)
        for at, event, arguments, flows in events:
            track = event["track_uuid"]
            stack = open_on[track]
            kind = event["type"]
            if kind == "TYPE_COUNTER":
                self.counters[self.tracks[track]].append((at, event["counter_value"]))
                continue
            if kind == "TYPE_SLICE_END":
                begin, begun, known, out = stack.pop()
                self.slices.append(Slice(self.tracks[track], begun["name"], begin, at, known, out,
                                         begun.get("terminating_flow_ids"), len(stack),
                                         [each[1]["name"] for each in stack]))
                continue
            entry = (at, event, arguments, flows)
            if kind == "TYPE_SLICE_BEGIN":
                stack.append(entry)
            else:
                assert kind == "TYPE_INSTANT", kind
                self.instants.append(entry)
        for track, stack in open_on.items():
            assert not stack, f"{self.tracks[track]}: {len(stack)} slices have no end"

    def named(self, name, **where):
        track = where.get("track", "")
        return [each for each in self.slices if each.name == name and track in each.track]

    def sum(self, name, track=""):
        return sum(each.end - each.begin for each in self.named(name, track=track))


class TimelineTest(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory(prefix="nestwalk-timeline-")
        self.addCleanup(self.folder.cleanup)

    def nestwalk(self, *arguments, code=0):
        result = subprocess.run([NESTWALK, *arguments], cwd=self.folder.name, capture_output=True,
                                text=True, check=False)
        self.assertEqual(result.returncode, code, result.stderr)
        return result

    def generate(self, *what, to="t.nwt"):
        self.nestwalk("trace", "gen", *what, "-o", to)

    def path(self, name):
        return os.path.join(self.folder.name, name)

    def run_with(self, *options, trace="t.nwt"):
        """The statistics and the timeline of a run."""
        traces = [trace] if isinstance(trace, str) else trace
        result = self.nestwalk("run", *traces, *options, "--json", "--timeline", "t.perfetto")
        self.errors = result.stderr
        return json.loads(result.stdout)["statistics"], Timeline(self.path("t.perfetto"))

    # rocket-h has a clock of 1 GHz, so that a cycle is a nanosecond: sums of slices are exact.
    def test_the_slices_of_a_cause_add_up_to_its_statistic(self):
        self.generate("smp", "vcpus=2", "accesses=600", "bytes=1M", "shared=256K")
        is_, timeline = self.run_with("-p", "rocket-h", "--policy", "lazy")
        self.assertEqual(self.errors, "")
        self.assertGreater(is_["exit.total"], 100)
        self.assertGreater(is_["guest.faults"], 100)
        exits = timeline.named("VM exit")
        self.assertEqual(len(exits), is_["exit.total"])
        self.assertEqual(timeline.sum("VM exit"), is_["exit.cycles"])
        in_kernel = [each for each in exits if "page fault" in each.parents]
        self.assertEqual(sum(each.end - each.begin for each in exits if each not in in_kernel
                             and "switches" not in each.parents), is_["latency.exits"])
        self.assertEqual(len(timeline.named("page fault")), is_["guest.faults"])
        self.assertEqual(timeline.sum("page fault"), is_["latency.guest"])
        for pause in ["switches", "fences", "operations", "scheduling", "waiting", "ordered"]:
            self.assertEqual(timeline.sum(pause, track="vCPU"), is_["time." + pause], pause)
        parts = {"exit": "exit", "lock": "waiting", "handler": "handler", "table": "tables",
                 "frames": "frames", "zeroing": "zeroing", "fence": "fences", "entry": "entry"}
        for part, statistic in parts.items():
            cycles = sum(each.end - each.begin for each in timeline.named(part)
                         if "VM exit" in each.parents)
            self.assertEqual(cycles, is_["exit.cycles." + statistic], part)
        for each in exits:
            self.assertIn(each.arguments["reason"], ["not present", "no permission"], each)

    def test_walks_are_on_the_rows_of_their_walkers(self):
        self.generate("smp", "vcpus=2", "accesses=600", "bytes=1M", "shared=256K")
        is_, timeline = self.run_with("-p", "rocket-h", "--policy", "lazy")
        walks = timeline.named("walk")
        # Those that read nothing were refused before they began.
        self.assertEqual(sum(each.arguments["references"] != 0 for each in walks), is_["walk.count"])
        self.assertEqual(sum(each.arguments["references"] for each in walks), is_["walk.references"])
        self.assertEqual(timeline.sum("walk"), is_["translation.walks"] - is_["walk.waiting"])
        self.assertEqual(sum(each.arguments["cycles"] for each in walks), timeline.sum("walk"))
        # Sv48 under Sv48x4: four levels each. What the walk caches spared is a reference as well.
        for each in walks:
            self.assertLessEqual(each.arguments["first-stage levels"], 4)
            self.assertLessEqual(each.arguments["second-stage levels"], 4)
        tracks = {each.track for each in walks}
        self.assertEqual(tracks, {"core 0, walker 0", "core 1, walker 0"})

    def test_the_lock_is_held_by_one_at_a_time(self):
        self.generate("smp", "vcpus=4", "accesses=300", "bytes=512K", "shared=1M")
        # The guest's kernel has a lock as well, so that its exits never meet. Those of the vCPUs do,
        # when memory that all of them use is taken away.
        schedule = ('[{"at": 100000, "every": 100000, "operation": "zap", "gpa": 0, '
                    '"bytes": 16777216}]')
        is_, timeline = self.run_with("-p", "rocket-h", "--policy", "lazy", "--set",
                                      "hypervisor.schedule=" + schedule)
        held = timeline.named("held")
        self.assertEqual(len(held), is_["exit.total"] + is_["operation.zap"])
        self.assertTrue(all(each.depth == 0 for each in held))
        # What is done under it: all of an exit but leaving, waiting, and coming back.
        under = sum(is_[kind + part] for kind in ["exit.cycles.", "operation.cycles."]
                    for part in ["handler", "tables", "frames", "zeroing", "fences"])
        self.assertEqual(timeline.sum("held"), under)
        self.assertEqual(sum(each.arguments["cycles waited"] for each in held),
                         is_["exit.cycles.waiting"] + is_["operation.cycles.waiting"])
        self.assertGreater(is_["exit.cycles.waiting"], 0)
        held.sort(key=lambda each: each.begin)
        for one, other in zip(held, held[1:]):
            self.assertLessEqual(one.end, other.begin)

    # A harvest of the dirty log makes pages read-only that other vCPUs have in their TLBs. On x86
    # they are interrupted.
    def test_flows_lead_from_a_fence_to_each_core_that_it_reaches(self):
        self.generate("smp", "vcpus=4", "accesses=600", "bytes=256K", "shared=1M")
        schedule = '[{"at": 20000, "every": 30000, "operation": "log_start"}]'
        is_, timeline = self.run_with("-p", "zen4", "--set", "hypervisor.backing=lazy",
                                      "--set", "hypervisor.schedule=" + schedule)
        self.assertGreater(is_["fence.interrupts"], 0)
        out = {}
        for each in timeline.slices:
            for flow in each.flows:
                self.assertNotIn(flow, out)
                out[flow] = each
        arrived = [each for each in timeline.slices if each.ending is not None]
        self.assertEqual({each.ending for each in arrived}, set(out))
        self.assertEqual(len(arrived), len(out))
        shootdowns = [each for each in arrived if each.name == "shootdown"]
        self.assertEqual(len(shootdowns), is_["fence.interrupts"])
        for each in arrived:
            issuer = out[each.ending]
            self.assertEqual(f"core {each.arguments['from core']}, fences", issuer.track)
            self.assertNotEqual(each.track, issuer.track)
            self.assertLessEqual(issuer.begin, each.begin)
            # The issuer waits until all have answered.
            self.assertLessEqual(each.end, issuer.end)
        for each in timeline.slices:
            if each.flows:
                self.assertEqual(len(each.flows), each.arguments["cores reached"])

    def test_counters_end_at_the_statistics(self):
        self.generate("random", "accesses=500", "bytes=8M")
        is_, timeline = self.run_with("-p", "rocket-h")
        for name, values in timeline.counters.items():
            self.assertEqual(values, sorted(values, key=lambda each: each[0]), name)
        last = {name: values[-1][1] for name, values in timeline.counters.items()}
        misses = is_["walk.count"] + is_["walk.merged"] + is_["tlb.prefetch.used"]
        self.assertEqual(last["last-level TLB misses"], misses)
        self.assertEqual(last["first-level TLB misses"], misses + is_["tlb.second_hits"])
        self.assertEqual(last["memory backed"], is_["memory.backed"])
        self.assertEqual(last["walks in flight"], 0)

    def test_there_is_a_process_for_each_guest_and_a_thread_for_each_vcpu(self):
        self.generate("smp", "vcpus=2", "accesses=100", "bytes=1M", to="two.nwt")
        self.generate("random", "accesses=100", "bytes=1M", to="one.nwt")
        _, timeline = self.run_with("-p", "rocket-h", "--set", "host.cores=1",
                                    trace=["two.nwt", "one.nwt"])
        self.assertEqual(list(timeline.processes.values()),
                         ["machine", "VM 0: two.nwt", "VM 1: one.nwt"])
        self.assertEqual(sorted(timeline.threads.values()), ["vCPU 0", "vCPU 0", "vCPU 1"])
        self.assertGreater(timeline.sum("waiting"), 0)
        about = timeline.instants[0][2]
        self.assertEqual(about["clock"], "simulated time in ns, 0 is the begin of the run; a cycle of "
                         "the 1000 MHz clock is 1 ns")

    # A cycle of zen4 is 0.27 ns: slices end within a nanosecond of where they should.
    def test_accesses_in_flight_have_rows_of_their_own(self):
        self.generate("random", "accesses=500", "bytes=8M")
        is_, timeline = self.run_with("-p", "zen4")
        reads = [each for each in timeline.slices if each.name in ["read", "write"]]
        rows = {each.track for each in reads}
        self.assertGreater(len(rows), 1)
        self.assertLessEqual(len(rows), 320)  # zen4's window
        self.assertTrue(all(each.depth == 0 for each in reads))
        mhz = round(1000 * is_["time.cycles"] / is_["time.ns"])
        for each in reads:
            self.assertAlmostEqual(each.end - each.begin, each.arguments["cycles"] * 1000 / mhz,
                                   delta=1)
        walks = timeline.named("walk")
        self.assertEqual(sum(each.arguments["cycles"] for each in walks),
                         is_["translation.walks"] - is_["walk.waiting"])
        # zen4 has six walkers (models/presets/zen4.json).
        self.assertLessEqual(len({each.track for each in walks}), 6)

    def test_a_full_file_ends_where_it_says(self):
        self.generate("random", "accesses=3000", "bytes=64M")
        stats, timeline = self.run_with("-p", "rocket-h", "--timeline-limit", "256K")
        self.assertRegex(self.errors, r"^nestwalk: t.perfetto is full: it ends at [0-9.]+ [a-z]+ of "
                         r"[0-9.]+ [a-z]+; a part \(--from, --to, --warmup, --set run.limit=N\) or a "
                         r"larger --timeline-limit has more\n$")
        size = os.path.getsize(self.path("t.perfetto"))
        self.assertLessEqual(size, 256 << 10)
        self.assertGreater(size, 240 << 10)
        end = timeline.instants[-1]
        self.assertEqual(end[1]["name"], "the timeline ends here: the file is full")
        self.assertEqual(end[2]["end of the run in ns"], stats["time.ns"])
        self.assertLessEqual(max(each.end for each in timeline.slices), end[0])

    def test_it_has_the_part_that_is_measured(self):
        self.generate("phases", "phases=3", "accesses=300", "bytes=1M", "growth=1")
        stats, timeline = self.run_with("-p", "rocket-h", "--from", "1", "--to", "2")
        whole, _ = self.run_with("-p", "rocket-h")
        self.assertLess(stats["walk.count"], whole["walk.count"])
        walks = timeline.named("walk")
        self.assertEqual(sum(each.arguments["references"] != 0 for each in walks),
                         stats["walk.count"])
        self.assertEqual(timeline.sum("page fault"), stats["latency.guest"])

    def test_nothing_that_is_simulated_knows_of_it(self):
        self.generate("smp", "vcpus=3", "accesses=300", "bytes=1M", "shared=256K")
        for preset in ["zen4", "cortex-a53", "rocket-h"]:
            with_it, _ = self.run_with("-p", preset)
            without = self.nestwalk("run", "t.nwt", "-p", preset, "--json")
            self.assertEqual(with_it, json.loads(without.stdout)["statistics"], preset)

    def test_what_it_cannot_write_or_bound_is_refused(self):
        self.generate("random", "accesses=10", "bytes=1M")
        run = ["run", "t.nwt", "-p", "simple"]
        self.assertIn("t.nwt is read; write to another file",
                      self.nestwalk(*run, "--timeline", "t.nwt", code=2).stderr)
        self.assertIn("--timeline writes a file, not standard output",
                      self.nestwalk(*run, "--timeline", "-", code=2).stderr)
        self.nestwalk(*run, "--timeline", "no/t", code=2)
        for size in ["1K", "big"]:
            self.assertIn("--timeline-limit: expected a size of at least 64K, found " + size,
                          self.nestwalk(*run, "--timeline", "t", "--timeline-limit", size,
                                        code=2).stderr)
        self.assertIn("--timeline-limit", self.nestwalk(*run, "--timeline-limit", "1M",
                                                        code=2).stderr)
        self.assertEqual(sorted(os.listdir(self.folder.name)), ["t.nwt"])


if __name__ == "__main__":
    NESTWALK = os.path.abspath(sys.argv.pop(1))
    unittest.main()

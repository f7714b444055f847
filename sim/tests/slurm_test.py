# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0
"""nestwalk sweep --slurm on a cluster of two nodes, which are processes here: its own munged,
slurmctld and two slurmd in a temporary folder, no service of the system. Skipped (exit 77) where
Slurm is not installed, or without root. With --long, tasks come to Slurm's own time limit, whose
least is a minute; otherwise they are ended by the same signals."""

import os
import re
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import time

PROGRAM = os.path.abspath(sys.argv[1]) if len(sys.argv) > 1 else None
NEEDED = ["munged", "slurmctld", "slurmd", "sbatch", "squeue", "scontrol"]
SLOW = 20  # seconds that anything of Slurm may take


def skip(why):
    print("skipped:", why)
    sys.exit(77)


def free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    for each in sockets:
        each.bind(("127.0.0.1", 0))
    ports = [each.getsockname()[1] for each in sockets]
    for each in sockets:
        each.close()
    return ports


class Cluster:
    def __init__(self, folder):
        self.folder = folder
        self.host = socket.gethostname().split(".")[0]
        controller, first, second = free_ports(3)
        key = f"{folder}/munge.key"
        with open(key, "wb") as file:
            file.write(os.urandom(1024))
        os.chmod(key, 0o400)
        shutil.chown(key, "munge", "munge")
        os.makedirs(f"{folder}/munge")
        shutil.chown(f"{folder}/munge", "munge", "munge")
        self.conf = f"{folder}/slurm.conf"
        with open(self.conf, "w") as file:
            file.write(f"""ClusterName=test
SlurmctldHost={self.host}(127.0.0.1)
AuthType=auth/munge
AuthInfo=socket={folder}/munge/socket
CredType=cred/munge
SlurmUser=root
SlurmdUser=root
SlurmctldPort={controller}
SlurmctldPidFile={folder}/slurmctld.pid
SlurmctldLogFile={folder}/slurmctld.log
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/d-%n
SlurmdPidFile={folder}/slurmd-%n.pid
SlurmdLogFile={folder}/slurmd-%n.log
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
SlurmdTimeout=5
KillWait=1
CompleteWait=0
MinJobAge=300
SchedulerParameters=sched_interval=1,bf_interval=1
NodeName=n1 NodeHostname={self.host} NodeAddr=127.0.0.1 Port={first} CPUs=1 State=UNKNOWN
NodeName=n2 NodeHostname={self.host} NodeAddr=127.0.0.1 Port={second} CPUs=1 State=UNKNOWN
PartitionName=p Nodes=n1,n2 Default=YES
""")
        self.environment = dict(os.environ, SLURM_CONF=self.conf)
        self.pids = []
        munge = f"{folder}/munge"
        subprocess.run(["runuser", "-u", "munge", "--", "munged", f"--key-file={key}",
                        f"--socket={munge}/socket", f"--pid-file={munge}/pid",
                        f"--log-file={munge}/log", f"--seed-file={munge}/seed", "--force"],
                       check=True)
        self.start(["slurmctld", "-D", "-c", "-f", self.conf])
        self.nodes = {name: self.start_node(name) for name in ("n1", "n2")}
        self.wait("both nodes idle", lambda: self.ask("sinfo", "-h", "-o", "%t %D") == "idle 2")

    def start(self, command):
        log = open(f"{self.folder}/{command[0]}.out", "ab")
        process = subprocess.Popen(command, env=self.environment, stdout=log, stderr=log)
        self.pids.append(process)
        return process

    def start_node(self, name):
        return self.start(["slurmd", "-D", "-N", name, "-f", self.conf])

    def ask(self, *command):
        return subprocess.run(command, env=self.environment, capture_output=True,
                              text=True).stdout.strip()

    def wait(self, what, done, seconds=SLOW):
        end = time.time() + seconds
        while not done():
            if time.time() > end:
                raise SystemExit(f"FAILED: {what}: not within {seconds} s; logs in {self.folder}")
            time.sleep(0.1)

    def stop(self):
        self.ask("scancel", "--signal=KILL", "--full", "-u", "root")
        for process in self.pids:
            process.kill()
            process.wait()
        pid = f"{self.folder}/munge/pid"
        if os.path.exists(pid):
            os.kill(int(open(pid).read()), signal.SIGTERM)


failures = []


def expect(what, found, wanted):
    if found == wanted:
        return
    failures.append(what)
    print(f"FAILED: {what}: expected {wanted!r}, found {found!r}")


class Sweep:
    """Twelve points of a second or so each."""

    points = 12

    def __init__(self, cluster, name, accesses):
        self.cluster = cluster
        self.folder = f"{cluster.folder}/{name}"
        os.makedirs(self.folder)
        self.file = f"{self.folder}/r.sqlite"
        self.trace = f"{self.folder}/t.nwt"
        subprocess.run([PROGRAM, "trace", "gen", "random", "bytes=64M", f"accesses={accesses}",
                        "-o", self.trace], check=True, stdout=subprocess.DEVNULL)
        self.command = [PROGRAM, "sweep", self.trace, "-p", "zen4", "--vary", "walker.slots=1..12",
                        "-o", self.file]

    def start(self, *options):
        self.output = open(f"{self.folder}/output", "w+")
        self.process = subprocess.Popen([*self.command, *options], env=self.cluster.environment,
                                        stdout=self.output, stderr=self.output)

    def end(self, seconds=900):
        code = self.process.wait(seconds)
        self.output.seek(0)
        return code, self.output.read()

    def done(self):
        """In the parts, so far."""
        count = 0
        folder = self.file + ".parts/sweep"
        for name in os.listdir(folder) if os.path.isdir(folder) else []:
            if name.endswith(".sqlite"):
                try:
                    with sqlite3.connect(f"file:{folder}/{name}?mode=ro", uri=True) as part:
                        count += part.execute("SELECT count(*) FROM run").fetchone()[0]
                except sqlite3.Error:
                    pass  # it has no tables yet
        return count

    def expect_all(self, what):
        code, output = self.end()
        expect(f"{what}: exit code", code, 0)
        expect(f"{what}: says so", f"sweep: {self.points} points, {self.points} done" in output,
               True)
        rows = sqlite3.connect(self.file)
        expect(f"{what}: points with a run",
               rows.execute("SELECT count(*) FROM points WHERE state = 'done'").fetchone()[0],
               self.points)
        expect(f"{what}: runs", rows.execute("SELECT count(*) FROM run").fetchone()[0],
               self.points)
        expect(f"{what}: parts are gone", os.path.exists(self.file + ".parts"), False)
        # The same as without Slurm.
        local = f"{self.folder}/local.sqlite"
        subprocess.run([*self.command[:-1], local], check=True, stdout=subprocess.DEVNULL)
        exported = [subprocess.run([PROGRAM, "sweep", "--export", "json", file], check=True,
                                   capture_output=True).stdout for file in (self.file, local)]
        expect(f"{what}: results", exported[0] == exported[1], True)
        return output


def whole(cluster):
    sweep = Sweep(cluster, "whole", 20000)
    sweep.start("--slurm", "--task-points", "3")
    output = sweep.expect_all("a whole sweep")
    expect("a whole sweep: in four tasks", "12 points in 4 tasks" in output, True)
    # All is there: nothing is submitted.
    sweep.start("--slurm")
    code, output = sweep.end()
    expect("a known sweep", (code, "job" in output), (0, False))


def killed_node(cluster):
    sweep = Sweep(cluster, "killed", 150000)
    sweep.start("--slurm", "--task-points", "3")
    cluster.wait("a run of the sweep", lambda: sweep.done() >= 2, 60)
    cluster.nodes["n2"].kill()
    # slurmd leaves its step's processes, as a machine that dies does not.
    for line in subprocess.run(["ps", "-eo", "pid,args"], capture_output=True,
                               text=True).stdout.splitlines():
        if re.search(r"slurmstepd: \[\d+.*\]", line) or sweep.folder in line and " sweep " in line:
            if "--shard" in line or "slurmstepd" in line:
                pid = int(line.split()[0])
                if on_node(pid, "n2"):
                    os.kill(pid, signal.SIGKILL)
    sweep.expect_all("a sweep of which a node was killed")
    cluster.nodes["n2"] = cluster.start_node("n2")
    cluster.wait("both nodes idle", lambda: cluster.ask("sinfo", "-h", "-o", "%t %D") == "idle 2",
                 60)


def on_node(pid, name):
    try:
        with open(f"/proc/{pid}/environ") as file:
            environment = file.read().split("\0")
    except OSError:
        return False
    return f"SLURMD_NODENAME={name}" in environment


def ended_tasks(cluster):
    sweep = Sweep(cluster, "ended", 150000)
    sweep.start("--slurm", "--task-points", "6")
    cluster.wait("a run of the sweep", lambda: sweep.done() >= 1, 60)
    for job in cluster.ask("squeue", "-h", "-t", "R", "-o", "%i").split():
        cluster.ask("scancel", job)
    output = sweep.expect_all("a sweep whose tasks were ended")
    expect("a sweep whose tasks were ended: is submitted again", output.count("job ") >= 2, True)


def time_limit(cluster):
    sweep = Sweep(cluster, "limit", 9000000)
    sweep.start("--slurm", "--task-points", "6", "--sbatch=--time=1", "--attempts", "8")
    output = sweep.expect_all("a sweep over its time limit")
    expect("a sweep over its time limit: is submitted again", output.count("job ") >= 2, True)


def full_disk(cluster):
    sweep = Sweep(cluster, "full", 20000)
    parts = sweep.file + ".parts"
    os.makedirs(parts)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=220k", "none", parts]).returncode != 0:
        print("left out: nothing can be mounted here")
        return
    try:
        sweep.start("--slurm", "--task-points", "6", "--attempts", "2")
        code, output = sweep.end()
        expect("a full folder: exit code", code, 5)
        expect("a full folder: says so", "not all was made" in output, True)
        known = sqlite3.connect(sweep.file).execute(
            "SELECT count(*) FROM points WHERE state = 'done'").fetchone()[0]
        expect("a full folder: what was made is kept", 0 < known < sweep.points, True)
    finally:
        subprocess.run(["umount", parts], check=True)
    shutil.rmtree(parts, ignore_errors=True)
    sweep.start("--slurm", "--task-points", "6")
    sweep.expect_all("a sweep whose folder was full")


def main():
    missing = [name for name in NEEDED if shutil.which(name) is None]
    if missing:
        skip("not installed: " + " ".join(missing))
    if os.geteuid() != 0:
        skip("needs root, for nodes of its own")
    folder = tempfile.mkdtemp(prefix="nestwalk-slurm-", dir="/tmp")
    os.chmod(folder, 0o755)
    cluster = None
    try:
        try:
            cluster = Cluster(folder)
        except (OSError, subprocess.SubprocessError) as error:
            skip(f"the cluster does not start here: {error}")
        tests = (whole, killed_node, ended_tasks, full_disk)
        for test in tests + ((time_limit,) if "--long" in sys.argv else ()):
            start = time.time()
            test(cluster)
            print(f"{test.__name__}: {time.time() - start:.1f} s", flush=True)
    finally:
        if cluster is not None:
            cluster.stop()
    if failures:
        sys.exit(f"{len(failures)} failed; {folder} stays")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()

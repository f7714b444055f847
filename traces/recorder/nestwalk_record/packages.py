# SPDX-FileCopyrightText: nestwalk contributors
# SPDX-License-Identifier: Apache-2.0

"""Debian packages of any architecture, fetched by apt into a private folder.

Nothing is installed, and the machine's own apt state stays as it is: apt gets lists, cache and
sources of its own, made from the mirrors and keys that the machine uses.
"""

import glob
import os
import re
import shutil
import subprocess

from .errors import RecordError

DEBIAN_ARCHITECTURES = {"x86_64": "amd64", "aarch64": "arm64", "riscv64": "riscv64"}
# Bookworm has no riscv64; the next release has.
SUITES = {"amd64": "bookworm", "arm64": "bookworm", "riscv64": "trixie"}
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
DEFAULT_MIRROR = "http://deb.debian.org/debian"


def cache_folder():
    default = os.path.join(os.path.expanduser("~"), ".cache", "nestwalk")
    return os.environ.get("NESTWALK_CACHE") or default


def _mirror():
    """The Debian mirror of this machine."""
    text = ""
    for name in sorted(glob.glob("/etc/apt/sources.list") + glob.glob("/etc/apt/sources.list.d/*")):
        with open(name, encoding="utf-8") as file:
            text += re.sub(r"(?m)^#.*$", "", file.read())
    found = re.findall(r"(?:https?|file|mirror\+\w+)://\S*/debian/?(?=\s|$)", text)
    return found[0] if found else DEFAULT_MIRROR


class PackageSource:
    """Fetches and unpacks packages of one architecture."""

    def __init__(self, machine_architecture, say, suite=None):
        self.architecture = DEBIAN_ARCHITECTURES[machine_architecture]
        self.suite = suite or SUITES[self.architecture]
        usual = self.suite == SUITES[self.architecture]
        self.folder = os.path.join(cache_folder(), "packages",
                                   self.architecture if usual else
                                   f"{self.architecture}-{self.suite}")
        self.say = say
        self.updated = False

    def _apt(self, command, *arguments):
        state = os.path.join(self.folder, "apt")
        options = {
            "APT::Architecture": self.architecture,
            "APT::Architectures": self.architecture,
            "APT::Sandbox::User": "root",
            "Dir::State": state,
            "Dir::State::status": os.path.join(state, "status"),
            "Dir::Cache": os.path.join(state, "cache"),
            "Dir::Etc::sourcelist": os.path.join(state, "sources.list"),
            "Dir::Etc::sourceparts": "/dev/null",
        }
        pairs = [part for name, value in options.items() for part in ("-o", f"{name}={value}")]
        done = subprocess.run([command, *pairs, *arguments], cwd=self.folder, text=True,
                              capture_output=True, check=False)
        if done.returncode != 0:
            reason = done.stderr.strip().splitlines()[-1:] or ["it gave no reason"]
            raise RecordError(f"{command} {arguments[0]} for {self.architecture}: {reason[0]}")
        return done.stdout

    def _update(self):
        if self.updated:
            return
        state = os.path.join(self.folder, "apt")
        for folder in ("lists/partial", "cache/archives/partial"):
            os.makedirs(os.path.join(state, folder), exist_ok=True)
        open(os.path.join(state, "status"), "a", encoding="ascii").close()
        with open(os.path.join(state, "sources.list"), "w", encoding="ascii") as file:
            file.write(f"deb [signed-by={KEYRING}] {_mirror()} {self.suite} main\n")
        self.say(f"asking Debian {self.suite} for {self.architecture} packages")
        self._apt("apt-get", "update", "-q")
        self.updated = True

    def _version_kept(self, pattern):
        """The newest unpacked package whose folder matches, or None."""
        return max(glob.glob(os.path.join(self.folder, "unpacked", pattern)), default=None,
                   key=os.path.getmtime)

    def package(self, name):
        """The folder that a package is unpacked in; its own name is package_version."""
        kept = self._version_kept(f"{glob.escape(name)}_*")
        if kept:
            return kept
        self._update()
        before = set(os.listdir(self.folder))
        self.say(f"fetching {name}")
        self._apt("apt-get", "download", name)
        archives = [f for f in set(os.listdir(self.folder)) - before if f.endswith(".deb")]
        if not archives:
            raise RecordError(f"apt-get fetched no package {name}")
        archive = os.path.join(self.folder, archives[0])
        folder = os.path.join(self.folder, "unpacked", archives[0].removesuffix(".deb"))
        subprocess.run(["dpkg", "-x", archive, folder + ".new"], check=True)
        os.rename(folder + ".new", folder)
        os.remove(archive)
        return folder

    def closure_folder(self, names):
        return os.path.join(self.folder, "closures", "+".join(names))

    def closure(self, names):
        """The folder that these packages are unpacked in, together with all that they depend on."""
        root = self.closure_folder(names)
        if os.path.isdir(root):
            return root
        os.makedirs(self.folder, exist_ok=True)
        shutil.rmtree(root + ".new", ignore_errors=True)
        self._update()
        self.say(f"fetching {' '.join(names)}, and what they depend on")
        archives = os.path.join(self.folder, "apt", "cache", "archives")
        self._apt("apt-get", "install", "-y", "--no-install-recommends", "--download-only", *names)
        # /bin, /lib and so on are links into /usr, whatever the order of the packages.
        for name in ("bin", "sbin", "lib", "lib64"):
            os.makedirs(os.path.join(root + ".new", "usr", name))
            os.symlink(os.path.join("usr", name), os.path.join(root + ".new", name))
        for archive in sorted(glob.glob(os.path.join(archives, "*.deb"))):
            self._unpack_into(archive, root + ".new")
            os.remove(archive)
        os.rename(root + ".new", root)
        return root

    def _unpack_into(self, archive, root):
        with subprocess.Popen(["dpkg-deb", "--fsys-tarfile", archive],
                              stdout=subprocess.PIPE) as unpacked:
            subprocess.run(["tar", "-x", "-C", root, "--keep-directory-symlink",
                            "--no-same-owner", "--exclude=./dev/*"],
                           stdin=unpacked.stdout, check=True)
        self._note_version(root, os.path.basename(archive).removesuffix(".deb"))

    @staticmethod
    def _note_version(root, version):
        with open(os.path.join(root, "packages"), "a", encoding="ascii") as file:
            file.write(version + "\n")

    def real_package(self, name, pattern):
        """The package that a metapackage depends on, by the form of its name."""
        kept = self._version_kept(pattern + "_*")
        if kept:
            return os.path.basename(kept).split("_")[0]
        self._update()
        depends = self._apt("apt-cache", "show", "--no-all-versions", name)
        found = re.search(r"^Depends:.*?\b(linux-image-\d[^\s,]*)", depends, re.MULTILINE)
        if not found:
            raise RecordError(f"{name} names no kernel package")
        return found[1]


KERNELS = {
    "x86_64": ("linux-image-cloud-amd64", "linux-image-[0-9]*-cloud-amd64", "boot/vmlinuz-*"),
    "aarch64": ("linux-image-cloud-arm64", "linux-image-[0-9]*-cloud-arm64", "boot/vmlinuz-*"),
    "riscv64": ("linux-image-riscv64", "linux-image-[0-9]*-riscv64", "boot/vmlinu[xz]-*"),
}


def fetch_guest(machine_architecture, say):
    """(kernel image, folder of the kernel package, busybox) for a guest."""
    source = PackageSource(machine_architecture, say)
    os.makedirs(os.path.join(source.folder, "unpacked"), exist_ok=True)
    metapackage, pattern, image = KERNELS[machine_architecture]
    kernel = source.package(source.real_package(metapackage, pattern))
    busybox = source.package("busybox-static")
    images = glob.glob(os.path.join(kernel, image))
    if not images:
        raise RecordError(f"{kernel} holds no kernel image")
    programs = glob.glob(os.path.join(busybox, "*bin", "busybox")) + glob.glob(
        os.path.join(busybox, "usr", "*bin", "busybox"))
    if not programs:
        raise RecordError(f"{busybox} holds no busybox")
    return images[0], kernel, programs[0]

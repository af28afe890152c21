"""The inside of the box, as the figures see it: a root of its own in the box's memory with copies of
everything that is measured, so that no figure waits for the machine's shared files."""

import contextlib
import json
import os
import re
import shutil
import subprocess
import time
from urllib.parse import quote

ROOT = "/tmp/bench-root"
HERE = "/bench"  # inside ROOT
QEMU = "/usr/bin/qemu-system-x86_64"
MACHINE = "microvm,pit=off,pic=off,rtc=off,acpi=off"
# Quiet: each byte on the console is an exit. The same for every VMM but for the way to reset.
COMMAND_LINE = "console=ttyS0 quiet panic=-1 reboot=k"
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/", "THIMBLE_CACHE": HERE + "/cache",
               "THIMBLE_TEMPLATES": "off", "THIMBLE_DAEMON": "off"}  # fmt: skip


def escaped(image):
    """As the store of images names its files."""
    return re.sub(r"%..", lambda code: code[0].lower(), quote(image, safe=" "))


class Box:
    def __init__(self, build, cache, rounds, images):
        self.build = build  # of the project
        self.cache = cache  # thimble's, on the machine
        self.stopwatch = build + "/bench/stopwatch"
        self.images = images  # names in that cache
        self.rounds = rounds  # how often a figure that starts something is measured

    # ---- making the root -------------------------------------------------------------------------

    def stage(self):
        os.makedirs(ROOT + HERE, exist_ok=True)
        self._program(f"{self.build}/bin/thimble", HERE + "/thimble")
        self._program(QEMU, QEMU)
        for name in ("/bin/sh", "/bin/cat"):  # QEMU saves through them
            self._program(name, name)
        for name in ("/usr/share/qemu", "/usr/share/seabios"):
            shutil.copytree(name, ROOT + name, dirs_exist_ok=True)
        for name in os.listdir(self.build + "/bench"):
            if name.endswith(".cpio") or name == "ping_server":
                shutil.copy(f"{self.build}/bench/{name}", ROOT + HERE)
        self._program(f"{self.build}/bench/claims", HERE + "/claims")
        self._stage_cache()
        for name, what in (("proc", "proc"), ("sys", "/sys"), ("dev", "/dev"), ("tmp", None)):
            os.makedirs(f"{ROOT}/{name}", exist_ok=True)
            if what is not None and not os.path.ismount(f"{ROOT}/{name}"):
                kind = ["-t", "proc"] if what == "proc" else ["--rbind"]
                subprocess.run(["mount", *kind, what, f"{ROOT}/{name}"], check=True)
        if not os.path.exists("/sys/kernel/tracing/trace"):
            subprocess.run(["mount", "-t", "tracefs", "t", "/sys/kernel/tracing"], check=True)

    def _program(self, source, target):
        os.makedirs(os.path.dirname(ROOT + target), exist_ok=True)
        shutil.copy(source, ROOT + target)
        listed = subprocess.run(["ldd", source], capture_output=True, text=True, check=False).stdout
        for library in re.findall(r"(?:=> |^\t)(/\S+)", listed, re.MULTILINE):
            if not os.path.exists(ROOT + library):
                os.makedirs(os.path.dirname(ROOT + library), exist_ok=True)
                shutil.copy(library, ROOT + library)

    def _stage_cache(self):
        """The kernel and the images, in a cache that holds nothing else."""
        images = ROOT + HERE + "/cache/images"
        os.makedirs(images + "/names", exist_ok=True)
        os.makedirs(ROOT + HERE + "/cache/kernel/current", exist_ok=True)
        for image in self.images:
            name = f"{self.cache}/images/names/{escaped(image)}.json"
            shutil.copy(name, images + "/names")
            with open(name, encoding="utf-8") as file:
                digest = json.load(file)["digest"]
            shutil.copytree(f"{self.cache}/images/{digest}", f"{images}/{digest}", dirs_exist_ok=True)
        kernel = ROOT + HERE + "/cache/kernel/current/vmlinux"
        shutil.copy(f"{self.cache}/kernel/current/vmlinux", kernel)
        if not os.path.exists(ROOT + HERE + "/vmlinux"):
            os.link(kernel, ROOT + HERE + "/vmlinux")

    # ---- measuring -------------------------------------------------------------------------------

    def call(self, *words, env=None):
        """Runs stopwatch with its command in the root; its JSON answer."""
        return self.answer([self.stopwatch, "--root", ROOT, *words], env)

    @staticmethod
    def answer(command, env=None):
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True,
                              check=False, env={**ENVIRONMENT, **(env or {})})  # fmt: skip
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(command)}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def peer(self, socket):
        """The measurement of vsock_peer.cpp through a VM's vsock socket in the root."""
        return self.answer([f"{self.build}/bench/vsock_peer", ROOT + socket])

    def repeat(self, *words):
        """The same `rounds` times, after one that does not count: it fills the caches."""
        self.call(*words)
        made = []
        for _ in range(self.rounds):
            # What the one before leaves to the kernel's workers, such as the end of its network
            # namespace, is not this one's.
            time.sleep(0.5)
            made.append(self.call(*words))
        return made

    # ---- commands --------------------------------------------------------------------------------

    @staticmethod
    def thimble_boot(initrd, *options, words=""):
        return [
            HERE + "/thimble", "boot", "--kernel", HERE + "/vmlinux", "--initrd", f"{HERE}/{initrd}",
            "--memory", "128M", "--cmdline", (COMMAND_LINE + " " + words).strip(), *options,
        ]  # fmt: skip

    @staticmethod
    def qemu_boot(initrd, *options, words=""):
        return [
            QEMU, "-M", MACHINE, "-accel", "kvm", "-cpu", "host", "-m", "128", "-nodefaults",
            "-no-user-config", "-display", "none", "-serial", "stdio", "-no-reboot",
            "-kernel", HERE + "/vmlinux", "-initrd", f"{HERE}/{initrd}",
            "-append", (COMMAND_LINE.replace("reboot=k", "reboot=t") + " " + words).strip(), *options,
        ]  # fmt: skip

    # ---- things to measure with ------------------------------------------------------------------

    @staticmethod
    def make_file(path, size):
        """A file of the box's memory with different blocks, none of them a hole."""
        block = bytes(range(256)) * 256
        with open(ROOT + path, "wb") as file:
            for i in range(size // len(block)):
                file.write(i.to_bytes(8, "little") + block[8:])

    @staticmethod
    def make_image(name, programs):
        """An erofs root with nothing but `programs` and the directories that init mounts on."""
        tree = f"/tmp/{name}.tree"
        for directory in ("proc", "sys", "dev", "tmp", "run"):
            os.makedirs(f"{tree}/{directory}", exist_ok=True)
        for program in programs:
            shutil.copy(f"{ROOT}{HERE}/{program}", tree)
        target = f"{ROOT}{HERE}/{name}"
        subprocess.run(["mkfs.erofs", "--quiet", target, tree], check=True, capture_output=True)

    @contextlib.contextmanager
    def running(self, command, mark):
        """`command` in the root until the context ends; begins when `mark` is on its stdout, with
        its process number."""
        child = subprocess.Popen(
            [self.stopwatch, "--root", ROOT, "only", "--", *command], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            env=ENVIRONMENT,
        )  # fmt: skip
        try:
            said = b""
            while mark.encode() not in said:
                more = os.read(child.stdout.fileno(), 65536)
                if not more:
                    raise RuntimeError(f"{' '.join(command)}: ended, saying {said!r}")
                said += more
            yield child.pid
        finally:
            child.kill()
            child.wait()

    @staticmethod
    def remove(path):
        if os.path.exists(ROOT + path):
            os.unlink(ROOT + path)

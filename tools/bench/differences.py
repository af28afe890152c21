"""In what the pages that a clone has changed differ from its template's."""

import os
import struct
from dataclasses import dataclass

from figures.clone_memory import GUEST_MEMORY

PAGE = 4096
WORD = 8
FEW_WORDS = 8
# Of an entry of /proc/PID/pagemap.
PRESENT = 1 << 63
OF_FILE = 1 << 61


@dataclass
class Differences:
    pages: int = 0  # that the clone has for itself
    same: int = 0  # … whose content is the template's
    few: int = 0  # … that differ in 1 to FEW_WORDS words of 8 bytes
    words: int = 0  # that differ in all of them


def differences(pid, template_memory):
    found = Differences()
    begin, end = guest_mapping(pid)
    with open(f"/proc/{pid}/pagemap", "rb") as file:
        file.seek(begin // PAGE * 8)
        entries = struct.unpack(f"<{(end - begin) // PAGE}Q", file.read((end - begin) // PAGE * 8))
    memory = os.open(f"/proc/{pid}/mem", os.O_RDONLY)
    with open(template_memory, "rb") as template:
        for page, entry in enumerate(entries):
            if not entry & PRESENT or entry & OF_FILE:
                continue
            template.seek(page * PAGE)
            words = count_words(template.read(PAGE), os.pread(memory, PAGE, begin + page * PAGE))
            found.pages += 1
            found.same += words == 0
            found.few += 0 < words <= FEW_WORDS
            found.words += words
    os.close(memory)
    return found


def count_words(before, now):
    if before == now:
        return 0
    return sum(before[at : at + WORD] != now[at : at + WORD] for at in range(0, PAGE, WORD))


def guest_mapping(pid):
    with open(f"/proc/{pid}/maps", encoding="utf-8") as file:
        for line in file:
            begin, end = (int(word, 16) for word in line.split()[0].split("-"))
            if end - begin >= GUEST_MEMORY:
                return begin, end
    raise RuntimeError(f"process {pid} has no guest")

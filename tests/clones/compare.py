"""Reads answers of clones (one JSON object for each line; `before` lines first, one for each template)
and prints "ok" or "not ok" for each source: nothing may have been drawn twice.

usage: compare.py NAME CLONES <answers"""

import collections
import json
import sys

name, clones = sys.argv[1], int(sys.argv[2])
answers = [json.loads(line) for line in sys.stdin]
drawn = collections.defaultdict(list)
for answer in answers:
    for source, value in answer.items():
        drawn[source].append(value)

# Each clone says what it was before the freeze, which is the same for all, and draws twice.
befores = [answers[i] for i in range(0, len(answers), 3)]
complete = len(answers) == 3 * clones
print("ok" if complete else "not ok", f"- {name}: {clones} clones answered ({len(answers)} lines)")
alike = all(before == befores[0] for before in befores)
print("ok" if alike else "not ok", f"- {name}: all clones have the same past")
identity = {"bootId", "machineId", "uuidNode"}
for source in sorted(drawn):
    past = befores[0][source]
    after = [value for i, value in enumerate(drawn[source]) if i % 3]
    if source in identity:  # one for each clone
        after = after[::2]
    again = [value for value, count in collections.Counter(after + [past]).items() if count > 1]
    verdict = "not ok" if again else "ok"
    print(verdict, f"- {name}: {source}: {len(after)} draws after the freeze, none twice",
          f"(twice: {again[:3]})" if again else "")

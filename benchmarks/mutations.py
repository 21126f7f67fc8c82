"""Random single changes to a bundle, each of which `fieldwork verify` has to find and to name.

    python -m benchmarks.mutations review.zip --count 200 --seed 1

A change is a bit of the archive, a cell of a table, a digit of a text, a field of a claim, a file that is added, one that is
removed, or one that takes another's name. Found: verify does not say "the same". Named: it says which file, and for a cell its
column with both values, for a claim its id, for a text its line.
"""

from __future__ import annotations

import argparse
import csv
import io
import json
import random
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from fieldwork.bundle.archive import pack, read_archive
from fieldwork.bundle.checking import verify
from fieldwork.errors import BundleError

Files = dict[str, bytes]


@dataclass(frozen=True, slots=True)
class Mutation:
    """One change: its kind, what was done, the archive that results, and words that a report which names it must hold."""

    kind: str
    told: str
    packed: bytes
    words: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """What verify said of a change."""

    kind: str
    told: str
    found: bool
    named: bool
    said: str


def bit(files: Files, draw: random.Random) -> Mutation:
    """Flip a bit anywhere in the archive."""
    packed = bytearray(pack(files))
    at, place = draw.randrange(len(packed)), draw.randrange(8)
    packed[at] ^= 1 << place
    end, name = 0, ""
    for each in sorted(files):  # members are stored one after the other: header of 30 bytes, name, content
        end += 30 + len(each.encode())
        if at < end:
            break  # a header
        end += len(files[each])
        if at < end:
            name = each
            break
    return Mutation(
        "bit", f"bit {place} of byte {at} ({name or 'of the archive itself'})", bytes(packed), (name,) if name else ()
    )


def cell(files: Files, draw: random.Random) -> Mutation:
    """Change a cell of a table."""
    tables = [name for name in files if name.endswith(".csv") and name.startswith(("published/", "study/", "record/"))]
    while True:
        name = draw.choice(sorted(tables))
        rows = list(csv.reader(io.StringIO(files[name].decode())))
        if len(rows) > 1:
            break
    row, column = draw.randrange(1, len(rows)), draw.randrange(len(rows[0]))
    before = rows[row][column]
    rows[row][column] = f"{before}1" if re.fullmatch(r"-?[\d.]+", before) else "another"
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    words = (name, f"row {row}", f"column {rows[0][column]}", before or "(empty)", rows[row][column])
    return Mutation(
        "cell", f"{name}, row {row}, {rows[0][column]}", pack(files | {name: text.getvalue().encode()}), words
    )


def digit(files: Files, draw: random.Random) -> Mutation:
    """Change a digit of a text: an essay where there is one, else a paper of the bundle."""
    texts = [name for name in files if "/essays/" in name and name.endswith(".md") and not name.startswith("code/")]
    texts = texts or [
        name for name in files if name.startswith(("published/", "study/")) and name.endswith((".txt", ".md"))
    ]
    texts = [name for name in sorted(texts) if re.search(rb"\d", files[name])]
    name = draw.choice(texts)
    content = bytearray(files[name])
    at = draw.choice([match.start() for match in re.finditer(rb"\d", content)])
    line = files[name][:at].count(b"\n") + 1
    content[at] = ord(draw.choice([sign for sign in "0123456789" if ord(sign) != content[at]]))
    return Mutation("digit", f"{name}, line {line}", pack(files | {name: bytes(content)}), (name, f"line {line}"))


def claim(files: Files, draw: random.Random) -> Mutation:
    """Change a field of a claim, as it was published or as it was registered."""
    published = next(name for name in sorted(files) if name.startswith("published/") and name.endswith("/claims.json"))
    registered = next(
        (name for name in sorted(files) if name.startswith("study/") and name.endswith("/claims.toml")), ""
    )
    claims = json.loads(files[published])
    chosen = draw.choice(claims)
    if registered and draw.random() < 0.5:
        text = files[registered].decode()
        start = text.index(f'id = "{chosen["id"]}"')
        at = text.index('text = "', start) + len('text = "')
        changed = text[:at] + "Not: " + text[at:]
        return Mutation("claim", f"{registered}, {chosen['id']}", pack(files | {registered: changed.encode()}),
                        (registered, f"claim {chosen['id']}", "Not: "))  # fmt: skip
    field = draw.choice(["verdict", "estimate", "text", "margin"])
    chosen[field] = "supported " if field == "verdict" else "Not so." if field == "text" else (chosen[field] or 0) + 1.0
    content = (json.dumps(claims, indent=1, ensure_ascii=False) + "\n").encode()
    return Mutation("claim", f"{published}, {chosen['id']}, {field}", pack(files | {published: content}),
                    (published, f"claim {chosen['id']}", field))  # fmt: skip


def added(files: Files, draw: random.Random) -> Mutation:
    """Add a file beside another."""
    name = draw.choice(sorted(files)) + ".bak"
    return Mutation("added", name, pack(files | {name: b"added"}), (f"extra: {name}",))


def removed(files: Files, draw: random.Random) -> Mutation:
    """Remove a file."""
    name = draw.choice(sorted(files))
    return Mutation("removed", name, pack({each: content for each, content in files.items() if each != name}), (name,))


def renamed(files: Files, draw: random.Random) -> Mutation:
    """Give a file another name."""
    name = draw.choice(sorted(files))
    other = {(f"{each}.old" if each == name else each): content for each, content in files.items()}
    return Mutation("renamed", name, pack(other), (name,))


KINDS: dict[str, Callable[[Files, random.Random], Mutation]] = {
    "bit": bit,
    "cell": cell,
    "digit": digit,
    "claim": claim,
    "added": added,
    "removed": removed,
    "renamed": renamed,
}


def outcome(mutation: Mutation, place: Path) -> Outcome:
    """Verify a changed archive and say whether the change was found, and named."""
    place.write_bytes(mutation.packed)
    try:
        verdict = verify(place)
    except BundleError as error:
        said = str(error)
        return Outcome(mutation.kind, mutation.told, True, all(word in said for word in mutation.words), said)  # noqa: FBT003
    lines = [str(each) for each in verdict.differences]
    named = any(all(word in line for word in mutation.words) for line in lines)
    return Outcome(mutation.kind, mutation.told, not verdict.same, named, "\n".join(lines))


def outcomes(files: Mapping[str, bytes], count: int, seed: int) -> list[Outcome]:
    """Return what verify said of `count` random changes, of each kind in turn."""
    draw = random.Random(seed)
    kinds = list(KINDS.values())
    with tempfile.TemporaryDirectory() as folder:
        return [
            outcome(kinds[turn % len(kinds)](dict(files), draw), Path(folder, "changed.zip")) for turn in range(count)
        ]


def main() -> int:
    """Change a bundle many times and print what was found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("bundle", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    if not verify(options.bundle).same:
        print("the bundle differs before it is changed")
        return 2
    found = outcomes(read_archive(options.bundle), options.count, options.seed)
    for each in found:
        if not (each.found and each.named):
            print(f"{each.kind}: {each.told}\n  found {each.found}, named {each.named}: {each.said}")
    for kind, number in Counter(each.kind for each in found).items():
        good = [each for each in found if each.kind == kind]
        print(f"{kind:<8} {number:>4} changes, {sum(e.found for e in good)} found, {sum(e.named for e in good)} named")
    print(f"all      {len(found):>4} changes, {sum(e.found for e in found)} found, {sum(e.named for e in found)} named")
    return 0 if all(each.found and each.named for each in found) else 1


if __name__ == "__main__":
    sys.exit(main())

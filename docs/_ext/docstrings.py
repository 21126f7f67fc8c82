"""The project's docstrings, plain text with sections, as reStructuredText that shows them as they were written."""

from __future__ import annotations

import re


def _inline(text: str) -> str:
    """Escape what reStructuredText would read as its own, keeping `code` and **bold**."""
    kept = re.split(r"(``[^`]+``|`[^`]+`|\*\*[^*\s][^*]*\*\*)", text)
    for i, part in enumerate(kept):
        if i % 2 == 0:
            kept[i] = re.sub(r"([\\*`|_])", r"\\\1", part)
        elif part.startswith("**"):
            kept[i] = part
        else:
            kept[i] = "``" + part.strip("`") + "``"
            before, after = (kept[i - 1][-1:], kept[i + 1][:1])
            kept[i] = ("\\ " if before.isalnum() else "") + kept[i] + ("\\ " if after.isalnum() else "")
    return "".join(kept)


def _entries(lines: list[str]) -> list[str]:
    """Show `name : what it is` as a list; a deeper line continues the entry above it."""
    shown: list[str] = []
    for line in lines:
        if not line.strip():
            continue
        if shown and (line.startswith(" ") or " : " not in line):
            shown[-1] += " " + line.strip()
        else:
            shown.append(line.strip())
    out: list[str] = []
    # Several entries may share a line: `weight : of cells. total : of answers.`
    for entry in [part for line in shown for part in re.split(r"(?<=[.;]) (?=\w+(?:, \w+)* : )", line)]:
        name, colon, said = entry.partition(" : ")
        text = f"``{name.strip()}``: {_inline(re.sub(r'  +', ' - ', said.strip()))}" if colon else _inline(entry)
        out.append(f"- {text}")
    return [*out, ""]


def _verbatim(lines: list[str]) -> list[str]:
    return ["::", "", *("    " + line for line in lines), ""] if lines else []


def _items(lines: list[str]) -> list[str]:
    """Show lines that begin with a dash as a list."""
    entries: list[str] = []
    for line in lines:
        if re.match(r"\s*[-*] ", line):
            entries.append(re.sub(r"^\s*[-*] ", "", line))
        else:
            entries[-1] += " " + line.strip()
    return [*(f"- {_inline(entry)}" for entry in entries), ""]


def _text(block: list[str]) -> list[str]:
    """Show a paragraph, and an example that follows it without a blank line."""
    example = next((i for i, line in enumerate(block) if line.lstrip().startswith(">>>")), len(block))
    said = block[:example]
    if said and re.match(r"\s*[-*] ", said[0]):
        shown = _items(said)
    else:
        shown = [_inline(" ".join(line.strip() for line in said)), ""] if said else []
    return shown + _verbatim(block[example:])


def _blocks(lines: list[str]) -> list[list[str]]:
    found: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            found[-1].append(line.rstrip())
        elif found[-1]:
            found.append([])
    return [block for block in found if block]


def as_rst(lines: list[str]) -> list[str]:
    """Turn the lines of a docstring into reStructuredText."""
    out: list[str] = []
    listing = False
    for block in _blocks(lines):
        heads = len(block) > 1 and re.fullmatch(r"-{3,}", block[1].strip())
        if heads:
            out += [f"**{block[0].strip()}**", "", *_entries(block[2:])]
        elif listing and block[0].startswith(" ") and not block[0].lstrip().startswith(">>>"):
            out += [f"  {_inline(' '.join(line.strip() for line in block))}", ""]
            continue
        else:
            out += _text(block)
        listing = bool(heads)
    return out

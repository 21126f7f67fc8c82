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
    for entry in shown:
        name, colon, said = entry.partition(" : ")
        text = f"``{name.strip()}``: {_inline(re.sub(r'  +', ' - ', said.strip()))}" if colon else _inline(entry)
        out.append(f"- {text}")
    return [*out, ""]


def as_rst(lines: list[str]) -> list[str]:
    """Turn the lines of a docstring into reStructuredText."""
    out: list[str] = []
    blocks: list[list[str]] = [[]]
    for line in lines:
        if line.strip():
            blocks[-1].append(line.rstrip())
        elif blocks[-1]:
            blocks.append([])
    listing = False
    for block in filter(None, blocks):
        if len(block) > 1 and re.fullmatch(r"-{3,}", block[1].strip()):
            out += [f"**{block[0].strip()}**", ""]
            out += _entries(block[2:])
            listing = True
        elif block[0].lstrip().startswith(">>>"):
            listing = False
            out += ["::", "", *("    " + line for line in block), ""]
        elif listing and block[0].startswith(" "):
            out += [f"  {_inline(' '.join(line.strip() for line in block))}", ""]
        else:
            listing = False
            example = next((i for i, line in enumerate(block) if line.lstrip().startswith(">>>")), len(block))
            items = [i for i, line in enumerate(block[:example]) if re.match(r"\s*[-*] ", line)]
            if items and items[0] == 0:
                text: list[str] = []
                for line in block[:example]:
                    if re.match(r"\s*[-*] ", line):
                        text.append(re.sub(r"^\s*[-*] ", "", line))
                    else:
                        text[-1] += " " + line.strip()
                out += [*(f"- {_inline(entry)}" for entry in text), ""]
            elif example:
                out += [_inline(" ".join(line.strip() for line in block[:example])), ""]
            if example < len(block):
                out += ["::", "", *("    " + line for line in block[example:]), ""]
    return out

"""The gallery of figures in `docs/`: every kind once, at book size, in colour and in grey side by side.

`python -m benchmarks.gallery [STUDY ...]` draws from the last run of each study folder; a figure that the first does not
allow is taken from the next. Pictures are small on purpose: 100 dots per inch and 32 tones.
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

from PIL import Image

from fieldwork.figures import KINDS, Absence, Spec, describe, numbered, published_of
from fieldwork.figures.spec import encoded, raster

DOCS = Path(__file__).resolve().parents[1] / "docs"


def main(studies: list[str]) -> None:
    """Write `docs/figures.md` and the pictures that it shows."""
    folder = DOCS / "figures"
    folder.mkdir(exist_ok=True)
    for old in folder.glob("*.png"):
        old.unlink()
    made = [describe(published_of(study)) for study in studies or ["."]]
    lines = [HEAD]
    for kind in KINDS:
        chosen = _chosen(kind.name, made)
        lines.append(f"## {numbered(chosen)}: {kind.words}\n")
        if isinstance(chosen, Absence):
            lines.append(f"{chosen.title}: not drawn. {chosen.reason}\n")
            continue
        (folder / f"{kind.name}.png").write_bytes(_picture(chosen))
        lines.append(f"![{chosen.alt}](figures/{kind.name}.png)\n")
    (DOCS / "figures.md").write_text("\n".join(lines), encoding="utf-8")


def _chosen(name: str, made: list[list[Spec | Absence]]) -> Spec | Absence:
    """Return the first figure of a kind that some study allows, else why the first study does not."""
    mine = [each for found in made for each in found if each.name == name or each.name.startswith(f"{name}_")]
    # `ranks_influence` begins like `ranks`: a figure of the very name goes first.
    mine.sort(key=lambda each: each.name != name)
    return next((each for each in mine if isinstance(each, Spec)), mine[0])


def _picture(spec: Spec) -> bytes:
    pages = [encoded(spec.draw(style), "pdf")["pdf"] for style in ("book", "grey")]
    sides = [Image.open(io.BytesIO(raster(page, 100))).convert("RGB") for page in pages]
    wide, tall = sum(side.width for side in sides) + 20, max(side.height for side in sides)
    both = Image.new("RGB", (wide, tall), "white")
    both.paste(sides[0], (0, 0))
    both.paste(sides[1], (sides[0].width + 20, 0))
    target = io.BytesIO()
    both.quantize(32, dither=Image.Dither.NONE).save(target, "png", optimize=True)
    return target.getvalue()


HEAD = """# Figures

Every kind of figure that a run makes, at the book's size of 4.5 inches, in colour and as a grey print has it. Made by
`python -m benchmarks.gallery`, from simulated studies.

One specification draws each in five house styles: `book`, `page` (5 x 7.5 inches at most), `grey`, `web` and `slide`
(16:9). In a notebook, one call takes any of them:

```python
from fieldwork.figures import figure

figure("alignment", study="..", style="slide")
```

Numbers are those of the book: chapters as the notebooks have them, and a figure that a wave does not allow keeps its
number. `fieldwork publish` writes them all, named as a publisher asks (`Quaie_Figure_06_01.pdf`).
"""


if __name__ == "__main__":
    main(sys.argv[1:])

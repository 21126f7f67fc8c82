"""How much memory a chapter's process has held, and how much there is for all of them.

Read from Linux's `/proc` and control groups, as the kernel says it; elsewhere unknown, and then memory bounds nothing.
"""

from __future__ import annotations

import argparse
import re
from pathlib import Path

__all__ = ["amount", "available", "peak", "size"]

_PROC = Path("/proc")
_GROUP = Path("/sys/fs/cgroup")  # a container's own, where it has one
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([MG])I?B?", re.IGNORECASE)
_BYTES = {"M": 1 << 20, "G": 1 << 30}


def size(text: str) -> int:
    """Return a size in bytes, as an option of the command line gives it.

    >>> size("6G") == 6 * 2**30, size("512 MB") == 512 * 2**20
    (True, True)
    """
    found = _SIZE.fullmatch(text.strip())
    if not found or not float(found[1]):
        raise argparse.ArgumentTypeError(f"expected a size as 6G or 800M, got '{text}'")
    return int(float(found[1]) * _BYTES[found[2].upper()])


def amount(held: int) -> str:
    """Return a number of bytes in words.

    >>> amount(3_500_000_000), amount(120_000_000)
    ('3.3 GB', '114 MB')
    """
    return f"{held / _BYTES['G']:.1f} GB" if held >= _BYTES["G"] else f"{held / _BYTES['M']:.0f} MB"


def peak(pid: int | None) -> int:
    """Return the most bytes that a living process has held so far, what it shares included; 0 where that is not known."""
    return _kilobytes(_PROC / str(pid) / "status", "VmHWM") or 0


def available(proc: Path = _PROC, group: Path = _GROUP) -> int | None:
    """Return the bytes that new processes can have: what the machine has free, or the container; None where not known."""
    free = _kilobytes(proc / "meminfo", "MemAvailable")
    if free is None:
        return None
    limit, used = _number(group / "memory.max"), _number(group / "memory.current")
    if limit is None or used is None:
        return free
    # What files have left in memory is given back when it is needed.
    files = re.search(r"^inactive_file (\d+)$", _text(group / "memory.stat"), re.MULTILINE)
    return max(min(free, limit - used + (int(files[1]) if files else 0)), 0)


def _kilobytes(path: Path, name: str) -> int | None:
    found = re.search(rf"^{name}:\s+(\d+) kB$", _text(path), re.MULTILINE)
    return int(found[1]) << 10 if found else None


def _number(path: Path) -> int | None:
    text = _text(path).strip()
    return int(text) if text.isdigit() else None


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="ascii", errors="replace")
    except OSError:  # no such system, or a process that has ended
        return ""

"""The archive of a bundle: the same files give the same bytes, and what is read of a stranger's archive is checked first.

Members are stored, not compressed: compressed bytes depend on the version of zlib, and a bundle is the same on every machine.
Reading trusts nothing: no path may leave the folder, no member may be a link or a device, no two may fall on one file of a
system that does not tell cases apart, and nothing is unpacked beyond what was declared. Check sums of the archive itself are
left aside, for the manifest's hashes say more: a damaged member is named instead of making the whole unreadable.
"""

from __future__ import annotations

import io
import itertools
import stat
import struct
import unicodedata
import zipfile
import zlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from fieldwork.errors import BundleError

__all__ = ["LARGEST", "MOST", "fault_of_packing", "pack", "read_archive", "read_folder", "refuse_names"]

MOST = 50_000
"""Most members of an archive that is read."""
LARGEST = 4 << 30
"""Most bytes that an archive may unpack to."""
_RATIO = 200  # text packs 10 to 30 times; a bomb a thousand times and more
_SLACK = 1 << 20
_TIME = (1980, 1, 1, 0, 0, 0)
_LOCAL = struct.Struct("<4s5H3I2H")
_ENCRYPTED = 0x1
_LONGEST = 400
_SIGNS = ("Cc", "Cf", "Cs", "Zl", "Zp")
_RESERVED = {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}


def pack(files: Mapping[str, bytes]) -> bytes:
    """Return a ZIP archive of files: members sorted by name, stored, of one date and one mode.

    Raises BundleError for names that no archive of ours may hold.

    >>> pack({"b": b"2", "a": b"1"}) == pack({"a": b"1", "b": b"2"})
    True
    """
    refuse_names(files)
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(files):
            member = zipfile.ZipInfo(name, _TIME)
            member.create_system = 3
            member.external_attr = (stat.S_IFREG | 0o644) << 16
            archive.writestr(member, files[name])
    return packed.getvalue()


def refuse_names(names: Iterable[str]) -> None:
    """Refuse a path that would leave the folder, or that some system could not keep apart from another.

    >>> refuse_names(["a/b.csv", "a/B.csv"])  # doctest: +IGNORE_EXCEPTION_DETAIL
    Traceback (most recent call last):
    fieldwork.errors.BundleError: two paths of the bundle fall on one file where cases are not told apart
    """
    met: dict[str, str] = {}
    folders: dict[str, str] = {}
    for name in names:
        if why := _unsafe(name):
            raise BundleError(
                f"a path of the bundle {why}",
                where=repr(name)[:120],
                expected="a relative path of plain names, with '/' between them",
                got=repr(name)[:120],
                hint="do not unpack this archive; ask its author for another",
            )
        folded = _folded(name)
        if folded in met:
            same = met[folded] == name
            raise BundleError(
                "a path stands twice in the bundle"
                if same
                else "two paths of the bundle fall on one file where cases are not told apart",
                where=name,
                expected="each path once",
                got=name if same else f"{met[folded]} and {name}",
                hint="do not unpack this archive; ask its author for another",
            )
        met[folded] = name
        parts = folded.split("/")
        folders.update({"/".join(parts[:depth]): name for depth in range(1, len(parts))})
    for folded in met.keys() & folders.keys():
        raise BundleError(
            "a path of the bundle is a file and a folder at once",
            where=met[folded],
            expected="a file or a folder",
            got=f"{met[folded]} and {folders[folded]}",
            hint="do not unpack this archive; ask its author for another",
        )


def _folded(name: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _unsafe(name: str) -> str:
    """Return why a path may not be unpacked; empty for one that may."""
    parts = name.split("/")
    faults = {
        "is absolute": name.startswith("/") or name[1:2] == ":",
        "leaves the folder": ".." in parts,
        "holds a sign that no path of a bundle has": "\\" in name
        or any(unicodedata.category(s) in _SIGNS for s in name),
        "has an empty part": not all(parts) or "." in parts,
        "cannot be written on every system": any(set(p) & set('<>:"|?*') or p != p.rstrip(" .") for p in parts),
        "is the name of a device on some systems": any(p.casefold().partition(".")[0] in _RESERVED for p in parts),
        "is too long": len(name) > _LONGEST,
    }
    return next((why for why, so in faults.items() if so), "")


def read_archive(path: Path) -> dict[str, bytes]:
    """Return the files of an archive by path, read into memory; nothing is written to the disk.

    Raises BundleError for what is no archive, an unsafe path, a path that stands twice or collides, a link or device, an
    encrypted member, and for an archive that would unpack to more than it says, than `LARGEST`, or than 200 times itself.
    """
    with path.open("rb") as file:
        try:
            archive = zipfile.ZipFile(file)
        # A name that is not UTF-8, and a version of the format that nobody knows, come as they are.
        except (zipfile.BadZipFile, UnicodeDecodeError, NotImplementedError) as error:
            raise _unread(path, "its directory, at the end of the file, is damaged or missing", error) from error
        with archive:
            members = _checked(archive, path)
            return {member.filename: _content(file, member, path) for member in members}


def _unread(path: Path, why: str, error: Exception) -> BundleError:
    return BundleError(
        "the archive cannot be read",
        where=path.name,
        expected="a ZIP archive as `fieldwork bundle` makes it",
        got=f"{type(error).__name__}: {error}",
        hint=f"fetch it again; {why}",
    )


def _checked(archive: zipfile.ZipFile, path: Path) -> list[zipfile.ZipInfo]:
    members = archive.infolist()
    whole = sum(member.file_size for member in members)
    size = path.stat().st_size
    if len(members) > MOST or whole > LARGEST or whole > _RATIO * size + _SLACK:
        raise BundleError(
            "the archive unpacks to more than a bundle holds",
            where=path.name,
            expected=f"at most {MOST} files, {LARGEST >> 30} GiB, and {_RATIO} times the archive's own size",
            got=f"{len(members)} files of {whole} bytes in an archive of {size}",
            hint="do not unpack this archive; ask its author for another",
        )
    for member in members:
        _refuse_kind(member)
        # An offset or a size of 64 bits may be beyond what the system can seek, or memory hold.
        if member.header_offset + _LOCAL.size + member.compress_size > size:
            raise _refused("a member of the archive lies outside the file", member.filename, f"{size} bytes")
    files = [member for member in members if not member.is_dir()]
    refuse_names(member.orig_filename for member in files)
    refuse_names(dict.fromkeys(member.orig_filename.rstrip("/") for member in members if member.is_dir()))
    spans = sorted((member.header_offset, member.header_offset + member.compress_size) for member in files)
    if any(first[1] > second[0] for first, second in itertools.pairwise(spans)):
        raise _refused("two members of the archive share their bytes", path.name, "members one after the other")
    return files


def _refuse_kind(member: zipfile.ZipInfo) -> None:
    mode = member.external_attr >> 16
    kind = stat.S_IFMT(mode)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        what = "a link" if kind == stat.S_IFLNK else "a device or pipe"
        raise _refused(f"a member of the archive is {what}", member.filename, "files and nothing else")
    if member.flag_bits & _ENCRYPTED:
        raise _refused("a member of the archive is encrypted", member.filename, "files that anybody can read")
    if member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise _refused("a member is packed in an unusual way", member.filename, "stored, or deflated")


def _refused(title: str, where: str, expected: str) -> BundleError:
    hint = "do not unpack this archive; ask its author for another"
    return BundleError(title, where=repr(where)[1:-1][:120], expected=expected, hint=hint)


def _content(file: io.BufferedReader, member: zipfile.ZipInfo, path: Path) -> bytes:
    """Return a member's bytes by what the archive's directory says of it; its check sum is not asked."""
    file.seek(member.header_offset)
    head = _LOCAL.unpack(file.read(_LOCAL.size))  # the directory's check has seen that it lies in the file
    file.seek(member.header_offset + _LOCAL.size + len(member.orig_filename.encode()) + head[10])
    packed = file.read(member.compress_size)
    if member.compress_type == zipfile.ZIP_STORED:
        return packed
    unpacker = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = unpacker.decompress(packed, member.file_size + 1)
    except zlib.error as error:
        raise _unread(path, f"{member.filename} cannot be unpacked", error) from error
    if len(content) > member.file_size:
        raise _refused("a member unpacks to more than the archive says", f"{path.name}, {member.filename}", "its size")
    return content


def fault_of_packing(path: Path, files: Mapping[str, bytes]) -> str:
    """Return where an archive departs from the one that `pack` makes of its files; empty where it is that one.

    A bit outside the members changes no file, and yet the archive is not the one that was made.
    """
    made, found = pack(files), path.read_bytes()
    if made == found:
        return ""
    at = next(
        (place for place, (one, other) in enumerate(zip(made, found, strict=False)) if one != other),
        min(len(made), len(found)),
    )
    with zipfile.ZipFile(io.BytesIO(made)) as archive:
        if at >= archive.start_dir:
            return f"byte {at}, in the archive's directory"
        inside = max(
            (member for member in archive.infolist() if member.header_offset <= at), key=lambda m: m.header_offset
        )
    return f"byte {at}, in the header of {inside.filename}"


def read_folder(folder: Path) -> dict[str, bytes]:
    """Return the files below a folder by path; BundleError for a link, a device, or more than a bundle holds."""
    found: dict[str, bytes] = {}
    whole = 0
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink() or not (path.is_file() or path.is_dir()):
            raise _refused("the unpacked bundle holds a link or a device", name, "files and folders")
        if path.is_file():
            whole += path.stat().st_size
            if len(found) >= MOST or whole > LARGEST:
                raise _refused("the folder holds more than a bundle", name, f"{MOST} files, {LARGEST >> 30} GiB")
            found[name] = path.read_bytes()
    return found

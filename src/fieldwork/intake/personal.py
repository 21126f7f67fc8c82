"""Which delivered columns say who somebody is: by their header, or by what stands in their cells.

A column that looks personal and is not declared stops the reading. What it holds is never quoted, not even in the message.
"""

from __future__ import annotations

import ipaddress
import re
import unicodedata
from collections.abc import Iterable, Mapping

from fieldwork.errors import DataError, listed
from fieldwork.intake.problems import shown

__all__ = ["looks_personal", "personal_of", "refuse_personal"]

_WORDS: dict[str, tuple[str, ...]] = {
    "an e-mail address": ("email", "e mail", "mail address", "mailadresse", "courriel", "correo electronico"),
    "an IP address": ("ip", "ip address", "ipaddress", "ip adresse", "adresse ip"),
    "a telephone number": (
        "phone", "telephone", "telefon", "mobile", "mobile number", "cell number", "cellphone", "fax", "handy",
    ),
    "the name of a person": (
        "first name", "last name", "full name", "given name", "family name", "middle name", "firstname", "lastname",
        "fullname", "surname", "forename", "your name", "contact name", "respondent name", "recipient name",
        "participant name", "person name", "vorname", "nachname", "familienname", "prenom", "nom de famille", "apellido",
    ),
    "the name of an organisation": (
        "company name", "organisation name", "organization name", "employer name", "name of organisation",
        "name of your organisation", "name of company", "name of your company", "firmenname", "firm name",
    ),
    "a precise location": (
        "latitude", "longitude", "gps", "geolocation", "coordinates", "postcode", "post code", "postal code", "zip code",
        "zipcode", "street", "home address", "postal address", "postleitzahl", "plz", "location latitude",
    ),
    "a date of birth": ("date of birth", "dob", "birthday", "birth date", "geburtsdatum"),
    "an official number": ("passport", "ssn", "social security", "national insurance", "tax number"),
    "a profile on the web": ("linkedin", "twitter handle", "profile url"),
}  # fmt: skip
_WHOLE = {"name": "the name of a person", "names": "the name of a person", "address": "a precise location",
          "zip": "a precise location", "lat": "a precise location", "lon": "a precise location",
          "lng": "a precise location", "long": "a precise location", "mail": "an e-mail address",
          "company": "the name of an organisation", "employer": "the name of an organisation"}  # fmt: skip
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")
_MAIL = re.compile(r"[\w.+'-]{1,64}@[\w-]{1,63}(?:\.[\w-]{1,63})+")
_LINK = re.compile(r"(?i)linkedin\.com/in/|xing\.com/profile/")
_PLACE = re.compile(r"[+-]?\d{1,2}\.\d{3,}\s*[,;]\s*[+-]?\d{1,3}\.\d{3,}")
_DIGITS = re.compile(
    r"(?<![\w.])(?:\+|00)\d[\d ()./-]{7,20}\d(?!\w)|(?<![\w.+-])\(?0\d{1,5}\)?[ /-]\d[\d -]{4,14}\d(?!\w)"
)
_OFFICIAL = re.compile(r"(?<![\w-])\d{3}-\d{2}-\d{4}(?![\w-])")
_TITLED = re.compile(r"\b(?:Mr|Mrs|Ms|Miss|Dr|Prof|Herr|Frau)\.? [A-Z][\w'-]+")
_DATE = re.compile(r"\d{4}-\d{2}-\d{2}|\d{1,2}[./-]\d{1,2}[./-]\d{2,4}")
_LONGEST_ADDRESS = 45
_NUMBER = re.compile(r"[+-]?\d+(?:[.,]\d+)?")
_ADDRESS = re.compile(r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}|[0-9A-Fa-f:]*:[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*")


def looks_personal(header: str, texts: Iterable[str]) -> str:
    """Return what a column seems to hold that says who somebody is, or an empty text.

    The header is read word by word, in English and a few other languages; then each distinct cell: e-mail and IP addresses,
    telephone numbers, coordinates, profiles, official numbers, and persons with a title before their name. A name that
    stands alone in a column whose header does not say so is not found.

    >>> looks_personal("RecipientEmail", []), looks_personal("Q7", ["call me", "ask ann@example.org"])
    ('an e-mail address', 'free text with an e-mail address')
    >>> looks_personal("Progress", ["100", "2026-01-31"]), looks_personal("blk_comment", ["none"])
    ('', '')
    """
    return _by_header(header) or _by_cells(texts)


def _by_header(header: str) -> str:
    plain = unicodedata.normalize("NFKD", _CAMEL.sub(" ", header))
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter)).casefold()
    words = " ".join(re.findall(r"[^\W_]+", plain))
    if words in _WHOLE:
        return _WHOLE[words]
    if len(words) > 80:  # a question, whose words are about anything
        words = words[:80]
    found = (kind for kind, known in _WORDS.items() if any(f" {each} " in f" {words} " for each in known))
    return next(found, "")


def _by_cells(texts: Iterable[str]) -> str:
    for text in texts:
        whole = text.strip()
        if len(whole) < 7 or _NUMBER.fullmatch(whole):
            continue
        for kind, pattern in (
            ("an e-mail address", _MAIL),
            ("a profile on the web", _LINK),
            ("a precise location", _PLACE),
            ("an official number", _OFFICIAL),
            ("a telephone number", _DIGITS),
            ("the name of a person", _TITLED),
        ):
            # Names before an @ are sought from every place of a text: a long one without any would take minutes.
            found = pattern.search(whole) if pattern is not _MAIL or "@" in whole else None
            if found and not (kind == "a telephone number" and _DATE.search(found[0])):
                return kind if found[0] == whole else f"free text with {kind}"
        if len(whole) <= _LONGEST_ADDRESS and _ADDRESS.fullmatch(whole) and _is_address(whole):
            return "an IP address"
    return ""


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def personal_of(columns: Mapping[str, Iterable[str]]) -> dict[str, str]:
    """Return what each column that looks personal seems to hold; `columns`: header and distinct cells."""
    return {header: kind for header, texts in columns.items() if (kind := looks_personal(header, texts))}


def refuse_personal(found: Mapping[str, str], name: str) -> None:
    """Raise DataError naming each column that looks personal and is not declared, as `personal_of` found them."""
    if not found:
        return
    quoted = ", ".join('"' + shown(header).replace("\\", "\\\\").replace('"', '\\"') + '"' for header in found)
    many = len(found) > 1
    raise DataError(
        f"{'columns look' if many else 'a column looks'} personal and {'are' if many else 'is'} not declared",
        where=f"{name}, row 1, column {shown(next(iter(found)))}",
        expected="no column that says who somebody is, unless the instrument declares it",
        got=listed(f"{shown(header)} ({kind})" for header, kind in found.items()),
        hint=f"[personal] columns = [{quoted}] in the instrument drops {'them' if many else 'it'} when the file is read; "
        "if one was looked at and says nothing of the kind, list it as cleared",
    )

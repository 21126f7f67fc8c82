"""A reviewer's bundle: what it holds, whether it is whole, and whether the results can be made again from it."""

from __future__ import annotations

from fieldwork.bundle.checking import Verdict, verify
from fieldwork.bundle.contents import Bundle, bundle
from fieldwork.bundle.differences import Difference
from fieldwork.bundle.rebuilding import ENVIRONMENTS, Reproduction, reproduce

__all__ = ["ENVIRONMENTS", "Bundle", "Difference", "Reproduction", "Verdict", "bundle", "reproduce", "verify"]

"""The essays' constructs, one file each: cell table in, rows of the estimates table out."""

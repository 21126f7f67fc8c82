"""Personal data: dropped at the door where declared, stopped at the door where not, ids hashed, nothing of it in a report."""

import json
import os
import re
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from fieldwork.clean import clean
from fieldwork.errors import DataError, StudyError
from fieldwork.instrument import Instrument
from fieldwork.intake import check_files, key_of, looks_personal, pseudonym, read_deliveries
from fieldwork.study import Study
from tests.canary import CANARIES, PERSONAL, found, plant
from tests.drawn_study import untold

CASES = Path(__file__).parent / "cases" / "deliveries"
HEAD = "resp_id,org_id,wave,role,conf,comments"
KEY = b"k" * 32


@pytest.fixture
def take(tmp_path):
    def run(files, extra="", **options):
        path = tmp_path / "instrument.toml"
        path.write_text((CASES / "instruments" / "instrument.toml").read_text(encoding="utf-8") + "\n" + extra)
        raw = tmp_path / "raw"
        raw.mkdir(exist_ok=True)
        for name, content in files.items():
            (raw / name).write_text(content, encoding="utf-8")
        instrument = Instrument.load(path, "w1")
        return clean(read_deliveries(raw.iterdir(), instrument), instrument, **options)

    return run


@pytest.mark.parametrize(
    ("header", "kind"),
    [
        ("E-mail", "an e-mail address"), ("RecipientEmail", "an e-mail address"), ("email_address", "an e-mail address"),
        ("IPAddress", "an IP address"), ("IP Address", "an IP address"), ("Mobile number", "a telephone number"),
        ("RecipientLastName", "the name of a person"), ("First Name", "the name of a person"), ("Name", "the name of a person"),
        ("Vorname", "the name of a person"), ("Prénom", "the name of a person"), ("LocationLatitude", "a precise location"),
        ("Postcode", "a precise location"), ("Company name", "the name of an organisation"), ("Date of birth", "a date of birth"),
        ("Progress", ""), ("Duration (in seconds)", ""), ("DistributionChannel", ""), ("UserLanguage", ""), ("role_name_seen", ""),
        ("Which name would you give this stage?", ""), ("shipment", ""), ("recipe", ""), ("blk_relationship", ""),
    ],
)  # fmt: skip
def test_headers_that_look_personal(header, kind):
    assert looks_personal(header, []) == kind


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("ann@example.org", "an e-mail address"), ("write to ann@example.org please", "free text with an e-mail address"),
        ("192.168.0.17", "an IP address"), ("2001:db8::1", "an IP address"), ("+44 20 7946 0958", "a telephone number"),
        ("call (020) 7946 0958", "free text with a telephone number"), ("51.50735, -0.12776", "a precise location"),
        ("078-05-1120", "an official number"), ("https://www.linkedin.com/in/ann", "free text with a profile on the web"),
        ("ask Dr. Smith", "free text with the name of a person"),
        ("2026-01-31", ""), ("31.01.2026 to 28.02.2026", ""), ("1,234,567.89", ""), ("12345678901234567890", ""), ("0.123456789", ""),
        ("09:30:00", ""), ("we need 250-300 people", ""), ("plain words", ""), ("2026Q1; 2026Q2", ""), ("3 @ 4", ""),
    ],
)  # fmt: skip
def test_cells_that_look_personal(text, kind):
    assert looks_personal("Q7", ["fine", text]) == kind


def test_undeclared_personal_columns_stop_with_their_names_and_without_a_value(take, tmp_path):
    content = f"{HEAD},E-mail,Q9,Colour\nr1,o1,w1,CEO,4,,ann@example.org,ring +44 20 7946 0958,red\n"
    with pytest.raises(DataError) as caught:
        take({"a.csv": content})
    error = caught.value
    assert error.title == "columns look personal and are not declared"
    assert error.where == "a.csv, row 1, column E-mail"
    assert error.got == "E-mail (an e-mail address), Q9 (free text with a telephone number)"
    assert '[personal] columns = ["E-mail", "Q9"]' in error.hint
    assert "ann@" not in str(error)
    assert "7946" not in str(error)
    found = check_files([tmp_path / "raw" / "a.csv"], Study.open(CASES))
    assert "ann@" not in str(found)
    assert [problem.rule for problem in found if problem.severity == "error"] == ["file_unreadable"]


def test_a_declared_text_item_may_hold_anything(take):
    assert take({"a.csv": f"{HEAD}\nr1,o1,w1,CEO,4,ann@example.org\n"}).flow.accepted == 1


def test_cleared_columns_are_kept_apart(take):
    content = f"{HEAD},Street\nr1,o1,w1,CEO,4,,high\n"
    cleaned = take({"a.csv": content}, '[personal]\ncleared = ["street"]\n')
    assert cleaned.unknown_columns["value"].tolist() == ["high"]


def everything(cleaned):
    tables = (cleaned.responses, cleaned.missing, cleaned.quarantine, cleaned.unknown_columns, cleaned.answers_aside)
    return "\n".join(table.to_csv() for table in tables) + json.dumps(cleaned.flow.as_dict())


def test_declared_columns_are_written_nowhere_not_even_from_damaged_rows(take):
    content = f"{HEAD},E-mail,Other\nr1,o1,w1,CEO,4,,ann@x.org,a\nr2,o1,w1,CFO,4,,bob@x.org\n"
    content += "r3,cy@x.org\nr4,o1,w1,CFO,4,,a,dee@x.org,b,c,eve@x.org\nr5,o1,w1,CFOO,4,,fay@x.org,b\n"
    cleaned = take({"a.csv": content}, '[personal]\ncolumns = ["e-mail"]\n')
    assert (cleaned.flow.delivered, cleaned.flow.accepted) == (5, 1)
    assert cleaned.flow.by_rule == {"short_row": 2, "long_row": 1, "role_unknown": 1}
    assert "@" not in everything(cleaned)
    assert cleaned.flow.remarks["personal_dropped"] == 1


LONG = """[[long]]
file = "p.csv"
family = "pri"
respondent = "who"
member = "what"
answer = "rank"
"""


def test_no_id_is_left_where_there_is_a_key(take):
    rows = [
        "secretR1,secretO1,w1,CEO,4,",
        "secretR2,secretO2,w1,CFO,5,",
        "secretR2,secretO2,w1,CFO,1,",
        "secretR1,secretO1,w1,CEO,4,",
    ]
    rows += [
        "secretR3,secretO3",
        "secretR4,secretO3,w1,CFOO,4,",
        "secretR5,secretO3,w1,CEO,4,\0",
        "secretR6,secretO3,w1,CEO,4,x,secretR6",
    ]
    files = {
        "a.csv": "\n".join([HEAD, *rows]) + "\n",
        "p.csv": "who,what,rank\nsecretR1,a,1\nsecretR9,a,1\nsecretR1,zz,1\n",
    }
    plain, hashed = take(files, LONG), take(files, LONG, key=KEY)
    assert "secret" in everything(plain)
    assert "secret" not in everything(hashed)
    assert hashed.flow == plain.flow
    assert set(hashed.responses["resp_id"]) == {pseudonym(KEY, "r", each) for each in plain.responses["resp_id"]}
    assert set(hashed.responses["org_id"]) == {pseudonym(KEY, "o", each) for each in plain.responses["org_id"]}
    ranks = [set(zip(each.responses["conf"], each.responses["pri_a"], strict=True)) for each in (plain, hashed)]
    assert ranks[0] == ranks[1]


def test_pseudonyms_are_one_to_one_and_of_the_key():
    ids = [f"r{n}" for n in range(5_000)]
    assert len({pseudonym(KEY, "r", each) for each in ids}) == len(ids)
    assert pseudonym(KEY, "r", "a") != pseudonym(b"other", "r", "a")
    assert pseudonym(KEY, "r", "a")[1:] != pseudonym(KEY, "o", "a")[1:]
    assert re.fullmatch("r[0-9a-f]{20}", pseudonym(KEY, "r", "a"))


def study(tmp_path, provenance, extra=""):
    shutil.copytree(CASES, tmp_path / "s", dirs_exist_ok=True)
    text = f'[study]\nname = "toy"\nprovenance = "{provenance}"\n[waves]\norder = ["w1"]\n{extra}'
    (tmp_path / "s" / "study.toml").write_text(text, encoding="utf-8")
    return Study.open(tmp_path / "s")


def test_the_key_is_made_once_outside_the_study_for_its_owner_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "settings"))
    monkeypatch.delenv("FIELDWORK_KEY", raising=False)
    assert key_of(study(tmp_path, "simulated")) is None
    assert key_of(study(tmp_path, "real", "[data]\npseudonyms = false\n")) is None
    made = key_of(study(tmp_path, "delivered"))
    assert len(made) == 32
    assert key_of(study(tmp_path, "delivered")) == made
    (path,) = (tmp_path / "settings").rglob("*.key")
    assert [each.name for each in path.parent.iterdir()] == ["toy.key"]
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert bytes.fromhex(path.read_text().strip()) == made


@pytest.mark.parametrize("place", ["data/raw/a.key", "data/processed/a.key", "reports/w1/a.key"])
def test_a_key_beside_what_it_protects_is_refused(tmp_path, monkeypatch, place):
    opened = study(tmp_path, "delivered")
    monkeypatch.setenv("FIELDWORK_KEY", str(opened.folder / place))
    with pytest.raises(StudyError, match="lies beside what it protects"):
        key_of(opened)
    assert not (opened.folder / place).exists()


@pytest.mark.parametrize("content", [b"", b"abc\n", b"\xff" * 64, b"Z" * 64])
def test_a_damaged_key_is_refused_and_kept(tmp_path, monkeypatch, content):
    path = tmp_path / "a.key"
    path.write_bytes(content)
    monkeypatch.setenv("FIELDWORK_KEY", str(path))
    with pytest.raises(StudyError, match="damaged"):
        key_of(study(tmp_path, "delivered"))
    assert path.read_bytes() == content


def test_the_search_for_canaries_finds_them(tmp_path):
    frame = pd.DataFrame({"a": [f"x {CANARIES['mail']} y"], CANARIES["text"]: [1]})
    frame.to_parquet(tmp_path / "t.parquet", compression="zstd")
    (tmp_path / "page.html").write_text(f"<p>{CANARIES['name'].upper()}</p>", encoding="utf-8")
    (tmp_path / CANARIES["organisation"]).mkdir()
    assert {word for _, word in found(tmp_path, CANARIES.values())} == {
        CANARIES[key].lower() for key in ("mail", "text", "name", "organisation")
    }


@pytest.mark.study
@pytest.mark.parametrize(
    ("only", "kinds"),
    [
        (("--only", "01_clean", "02_validate"), {".ipynb", ".json"}),
        pytest.param(
            (), {".ipynb", ".json", ".html", ".csv", ".parquet", ".pdf", ".svg", ".png"}, marks=pytest.mark.slow
        ),
    ],
    ids=["two chapters", "every page"],
)
def test_no_canary_of_a_delivery_reaches_a_report(tmp_path, only, kinds):
    def fieldwork(*words):
        environment = os.environ | {"FIELDWORK_KEY": str(tmp_path / "a.key")}
        command = [sys.executable, "-m", "fieldwork", *words]
        done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=500)
        assert done.returncode == 0, done.stdout + done.stderr
        assert not [word for word in CANARIES.values() if word in done.stdout + done.stderr]

    folder = tmp_path / "s"
    untold("role_divergence", folder, organisations=40, seed=3)
    settings = (folder / "study.toml").read_text(encoding="utf-8")
    settings = settings.replace('"simulated"', '"delivered"', 1).replace("replicates = 1000", "replicates = 40")
    (folder / "study.toml").write_text(settings, encoding="utf-8")
    with (folder / "instruments" / "2026Q1.toml").open("a", encoding="utf-8") as file:
        file.write("\n" + PERSONAL)
    (delivery,) = (folder / "data" / "raw" / "2026Q1").glob("*.csv")
    named = delivery.with_name("=1+1<img src=x onerror=alert(7)>.csv")
    plant(pd.read_csv(delivery, dtype="str", keep_default_na=False)).to_csv(named, index=False)
    delivery.unlink()
    fieldwork("run", "--study", str(folder), "--workers", "1", *only)
    pages = [path for path in (folder / "reports").rglob("*") if path.is_file()]
    assert kinds <= {path.suffix for path in pages}
    assert found(folder / "reports", CANARIES.values()) == []
    html = [path for path in pages if path.suffix == ".html"]
    assert not [path.name for path in html if "<img src=x" in path.read_text(encoding="utf-8")]
    kept = {word for _, word in found(folder / "data" / "processed", CANARIES.values())}
    assert kept == {CANARIES["text"], CANARIES["mail"]}, "free text stays in the processed data; the rest is nowhere"


def test_no_test_makes_a_key_in_the_settings_of_who_runs_it(own_settings):
    assert os.environ["XDG_CONFIG_HOME"] == own_settings
    assert Path(own_settings) != Path.home() / ".config"

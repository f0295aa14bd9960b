"""Protects the recipe "Add a concept": one YAML file, in the package or in a configuration folder, is all it takes."""

import shutil

import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.harmonize.crosswalk import CONCEPT_FOLDER
from mpta_pipeline.pipeline.deployment import Deployment

# As in CONTRIBUTING.md, "Add a concept". The extract's files have the variable `race`.
SHADE = """
concept: shade
domain: demographic
scale: nominal
label: shade
question: Which shade are you?
statement: 'Your shade is {answer}.'
reveals: [origin]
no_partner: its answers have no order
categories: [light, dark, other]
sources:
  - codebook: gss_extract
    variable: race
    equivalence: source_specific
    options:
      - {code: 1, label: white, value: light, text: light}
      - {code: 2, label: black, value: dark, text: dark}
      - {code: 3, label: other, value: other, text: something else}
absent: {wvs7: not asked, wvs_ts: not asked, joint: not asked, evs2017: not asked, gss: not looked up yet}
"""


def put(folder, text=SHADE, name="shade.yaml"):
    folder.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text, encoding="utf-8")
    return folder


def shades(crosswalk, world, tmp_path):
    registry = surveys.load_sources(world.config / "surveys.yaml")
    file = world.surveys / "wave_2018.sav"
    raw = surveys.ingest(file, "gss_extract-2018", Layout(tmp_path / "raw"), registry)
    return harmonize.harmonize(raw, crosswalk)["shade_gss"].drop_nulls().unique().sort().to_list()


def test_one_file_in_the_configuration_folder(world, tmp_path):
    own = put(world.config / "concepts", SHADE.replace("absent: {", "absent: {} # {"))
    crosswalk = harmonize.load_crosswalk(own=own)
    assert (list(crosswalk.own), crosswalk.replaced, crosswalk.set_aside) == (["shade"], frozenset(), ())
    assert set(shades(crosswalk, world, tmp_path)) <= {"light", "dark", "other"}
    assert shades(crosswalk, world, tmp_path)
    packaged = harmonize.load_crosswalk()
    assert "shade" not in packaged.items
    assert crosswalk.digest("gss_extract") != packaged.digest("gss_extract")
    assert crosswalk.digest("wvs_usa_extract") == packaged.digest("wvs_usa_extract")


def test_one_file_in_the_package(world, tmp_path):
    folder = put(shutil.copytree(CONCEPT_FOLDER, tmp_path / "concepts"))
    assert shades(harmonize.load_crosswalk(folder), world, tmp_path)


def test_a_concept_of_the_same_name_replaces_the_packaged_one(tmp_path):
    text = (CONCEPT_FOLDER / "trust_general.yaml").read_text(encoding="utf-8")
    own = put(tmp_path, text.replace("label: trust in people", "label: general trust"), "trust_general.yaml")
    crosswalk = harmonize.load_crosswalk(own=own)
    assert crosswalk.items["trust_general"].label == "general trust"
    assert crosswalk.replaced == {"trust_general"}


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ("label: shade", "lable: shade", "lable"),
        ("categories: [light, dark, other]", "categories: [light", "not YAML: line"),
        ("concept: shade", "concept: shadow", "named after its concept"),
        ("reveals: [origin]", "reveals: [orign]", "unknown group 'orign'.*origin"),
        ("no_partner: its answers have no order", "polarity: [{concept: nothing, sign: 1}]", "is not a concept"),
        (
            "    equivalence: source_specific\n",
            "    equivalence: source_specific\n    column: sex\n",
            "belongs to two concepts",
        ),
    ],
)
def test_a_broken_concept_is_set_aside_and_stops_no_other(tmp_path, old, new, says):
    assert old in SHADE
    own = put(tmp_path, SHADE.replace(old, new))
    put(tmp_path, SHADE.replace("concept: shade", "concept: hue").replace("label: shade", "label: hue"), "hue.yaml")
    crosswalk = harmonize.load_crosswalk(own=own)
    (aside,) = crosswalk.set_aside
    assert aside.file == own / "shade.yaml"
    with pytest.raises(AssertionError, match=says):
        raise AssertionError(str(aside))
    assert "hue" in crosswalk.items
    assert "shade" not in crosswalk.items
    assert crosswalk.items.keys() - {"hue"} == harmonize.load_crosswalk().items.keys()


def test_a_concept_that_breaks_stays_as_it_was_last_read(world):
    put(world.config / "concepts")
    first = Deployment.from_env()
    first.look()
    version = first.crosswalk_version()
    put(world.config / "concepts", SHADE.replace("label: shade", "label: ["))
    broken = Deployment.from_env()
    assert "concepts/shade.yaml" in broken.look().problems
    assert broken.crosswalk_version() == version
    (world.config / "concepts" / "shade.yaml").unlink()
    gone = Deployment.from_env()
    assert gone.look().problems == {}
    assert "shade" not in gone.crosswalk.items
    assert gone.crosswalk_version() != version


def test_names_that_are_no_text_and_folders_are_set_aside(tmp_path):
    own = put(tmp_path)
    (own / "latin.yaml").write_bytes("concept: caf\u00e9".encode("latin-1"))
    (own / "folder.yaml").mkdir()
    crosswalk = harmonize.load_crosswalk(own=own)
    assert {one.file.name for one in crosswalk.set_aside} == {"latin.yaml", "folder.yaml"}
    assert "shade" in crosswalk.items

"""Protects against the traps of the crosswalk in whole files: the same people, as each producer writes them.

The files are invented, in the producers' structure (tests/factories/survey_files.py): the WVS respondents stand in the
WVS-7 file, the time series and the Joint file, the EVS ones in EVS 2017 and the Joint file, each with its own names,
codes, order of answers and missing codes. Whoever answered alike must come out alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

import polars as pl
import pytest

from mpta_pipeline import harmonize, surveys
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.harmonize.crosswalk import Crosswalk
from tests.factories.survey_files import (
    ITEMS,
    People,
    SurveyFile,
    evs2017,
    evs_people,
    joint,
    write,
    wvs6,
    wvs7,
    wvs_people,
    wvs_ts,
)

WVS, EVS = wvs_people(), evs_people()
OPEN = "sources:\n" + "".join(f"  {s}: {{acknowledged: invented data}}\n" for s in ("evs2017", "evs_trend", "joint"))
FILES: dict[str, tuple[Callable[[], SurveyFile], str]] = {
    "wvs7": (lambda: wvs7(WVS), "wvs-7"),
    "wvs_ts": (lambda: wvs_ts(WVS), "wvs-7"),
    "joint": (lambda: joint(WVS, EVS), "joint-2017"),
    "evs2017": (lambda: evs2017(EVS), "evs-5"),
    "wvs_w6": (lambda: wvs6(WVS), "wvs-6"),
}
# Answers that the sources ask for in different ways, so that the same person is coded differently on purpose.
SOURCE_SPECIFIC = {"income_scale", "marital_status", "party", "prayer", "occupation"}


@pytest.fixture(scope="module", params=[".sav", ".dta", ".csv"])
def waves(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, crosswalk: Crosswalk
) -> Iterator[dict[str, pl.DataFrame]]:
    """Codebook → its harmonized wave in the file's order."""
    folder = tmp_path_factory.mktemp("producers")
    (folder / "surveys.yaml").write_text(OPEN, encoding="utf-8")
    registry = surveys.load_sources(folder / "surveys.yaml")
    made: dict[str, pl.DataFrame] = {}
    for codebook, (make, wave) in FILES.items():
        path = folder / f"{codebook}{request.param}"
        write(make(), path)
        raw = surveys.ingest(path, wave, Layout(folder / codebook), registry)
        assert raw.release["codebook"] == codebook
        frame = harmonize.harmonize(raw, crosswalk)
        failed = [c.name for c in harmonize.check_wave(frame, raw, crosswalk) if not c.passed and c.severity == "error"]
        assert not failed, (codebook, failed)
        made[codebook] = frame.sort("row_index")
    yield made


def part(waves: dict[str, pl.DataFrame], codebook: str, people: People) -> pl.DataFrame:
    """The rows of these people."""
    frame = waves[codebook]
    if codebook != "joint":
        return frame
    return frame.head(len(EVS)) if people is EVS else frame.tail(len(WVS))


@pytest.mark.parametrize("name", sorted(set(ITEMS) - SOURCE_SPECIFIC))
def test_the_same_answer_is_the_same_in_every_file(name: str, waves: dict[str, pl.DataFrame]) -> None:
    said: dict[int, dict[str, set[str]]] = {}
    for people, codebooks in ((WVS, ("wvs7", "wvs_ts", "joint", "wvs_w6")), (EVS, ("evs2017", "joint"))):
        answers = people.answers[name]
        for codebook in codebooks:
            frame = part(waves, codebook, people)
            if name not in frame.columns or (codebook == "wvs_w6" and name != "sex"):
                continue
            for answer, value, kind in zip(answers, frame[name], frame[name + "__missing"], strict=True):
                if isinstance(answer, int) and value is not None:
                    said.setdefault(answer, {}).setdefault(codebook, set()).add(str(value))
                elif (
                    (codebook, answer) == ("wvs7", "not_applicable") and name.endswith("_born_in_country") and not kind
                ):
                    assert value == "no"  # -3 without a label: the parent does not live in the country
                elif isinstance(answer, str):
                    assert kind == answer, (codebook, answer, value, kind)
    for answer, by_codebook in said.items():
        values = set().union(*by_codebook.values())
        assert len(values) == 1, (name, answer, by_codebook)
    # Two answers may fall into one category, but a scale must not collapse.
    distinct = {next(iter(set().union(*d.values()))) for d in said.values()}
    assert len(distinct) >= min(2, len(said))


def test_every_item_of_the_files_is_harmonized(waves: dict[str, pl.DataFrame]) -> None:
    for codebook in ("wvs7", "wvs_ts", "joint", "evs2017"):
        concepts = {c.split("__")[0] for c in waves[codebook].columns}
        for name, item in ITEMS.items():
            if codebook in item.forms and name not in SOURCE_SPECIFIC:
                assert any(c == name or c.startswith(name) for c in concepts), (codebook, name)


def test_northern_ireland_is_british_and_a_study_of_its_own(waves: dict[str, pl.DataFrame]) -> None:
    frame = waves["wvs7"].filter(pl.col("country__code") == "909")
    assert frame.height == sum(c == 909 for c in WVS.country)
    assert set(frame["country"]) == {"GBR"}


def test_weights_are_the_producers(waves: dict[str, pl.DataFrame]) -> None:
    for codebook, people in (("wvs7", WVS), ("wvs_ts", WVS), ("evs2017", EVS)):
        assert waves[codebook]["weight"].to_list() == pytest.approx(list(people.weight), abs=1e-6)

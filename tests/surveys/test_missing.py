"""Missing answers keep their kind in every way that producers write them, and zero stays a value."""

import pytest

from mpta_pipeline import surveys
from mpta_pipeline.surveys.missing import is_declared, kind_of_code, plain


@pytest.fixture(scope="module")
def conventions():
    return surveys.load_sources().conventions


@pytest.mark.parametrize(
    ("code", "label", "kind"),
    [
        (".i", "IAP", "not_applicable"),
        (".d", "don’t know", "dont_know"),
        (".d", "donâ€™t know", "dont_know"),  # as the 2018 file spells it
        (".n", "no answer", "refused_or_no_answer"),
        (".n", "refused", "refused_or_no_answer"),  # so in 2021
        (".s", "skipped on web", "skipped_web"),
        (".s", "social media (facebook, twitter, youtube)", "invalid"),  # a category put among the missing
        (".x", "not available in this release", "not_available_release"),
        (".y", "not available in this year", "not_asked"),
        (".x", None, "not_available_release"),
        (".a", "IAP", "not_applicable"),  # the letters of the first release of 2010
        (".b", "DK", "dont_know"),
        (".c", "NA", "refused_or_no_answer"),
        (".c", "cant choose", "dont_know"),  # the same letter in the second
        (".u", "uncodeable & iap", "invalid"),
        (".a", None, "not_available_release"),
        (".m", "dk, na, iap", "invalid"),
        ("-100", ".i:  Inapplicable", "not_applicable"),  # as SPSS files and the Data Explorer have it
        ("-99", ".n:  No answer", "refused_or_no_answer"),
        ("-98", ".d:  Do not Know/Cannot Choose", "dont_know"),
        ("-97", ".s:  Skipped on Web", "skipped_web"),
        ("-96", ".z:  Variable-specific reserve code", "invalid"),
        ("-80", ".x:  Not available in this release", "not_available_release"),
        ("-70", ".y:  Not available in this year", "not_asked"),
        ("-60", ".j:  I do not have a job", "not_applicable"),
        ("98", "dk", "dont_know"),  # missing by its label only
        ("27", "refused", "refused_or_no_answer"),
        ("0", "never", None),
        ("0", "lt high school", None),
        ("3", "depends", None),
        ("8", "don't know which party", None),
    ],
)
def test_gss(conventions, code, label, kind):
    assert kind_of_code(code, label, conventions["gss"]) == kind


@pytest.mark.parametrize(
    ("code", "label", "kind"),
    [
        ("-1", "Don't know", "dont_know"),
        ("-1", "Don´t know", "dont_know"),
        ("-2", "No answer/refused", "refused_or_no_answer"),
        ("-3", "INAP; Mother does not live in country", "not_applicable"),
        ("-4", "Not asked in this country", "not_asked"),
        ("-5", "Missing; Not available", "not_available_release"),
        ("-5", None, "not_available_release"),
        (".a", "Don't know", "dont_know"),
        (".e", None, "not_available_release"),
        ("0", "Do not belong to a denomination", None),
        ("5", "I am not [nationality]", None),
    ],
)
def test_wvs(conventions, code, label, kind):
    assert kind_of_code(code, label, conventions["wvs"], declared=["-5..-1"], file_declares=True) == kind


def test_a_code_that_the_file_does_not_declare_missing_is_a_value(conventions):
    """-1 is a longitude, a materialist or a code like any other unless something says that it is missing."""
    wvs = conventions["wvs"]
    assert kind_of_code("-70", None, conventions["gss"], variable="Y", file_declares=True) is None
    assert kind_of_code("-1", None, wvs, variable="Y", file_declares=True) == "dont_know"
    assert kind_of_code("-1", None, wvs, variable="Y", file_declares=True, categorical=True) == "dont_know"
    assert kind_of_code("-1", "a value", wvs, variable="Y", file_declares=True, categorical=True) is None
    assert kind_of_code("-1", None, wvs, variable="Y", file_declares=False) == "dont_know"
    assert kind_of_code("-1", None, wvs, variable="O1_LONGITUDE") is None
    assert kind_of_code("-1", "materialist", conventions["none"]) is None


@pytest.mark.parametrize("declared", [(), ("-5..-1",)])
def test_the_autonomy_index_runs_from_minus_two_to_two(conventions, declared):
    """Y003: -1 and -2 are values there, in every file of the WVS, whatever it declares; -5 is missing there, too."""
    for convention in ("wvs", "evs_trend", "joint"):
        for code in ("-2", "-1", "0", "1", "2"):
            assert kind_of_code(code, None, conventions[convention], variable="Y003", declared=declared) is None
        missing = kind_of_code("-5", "Missing; Unknown", conventions[convention], variable="y003", declared=declared)
        assert missing == "not_available_release"


@pytest.mark.parametrize(
    ("convention", "code", "label", "kind"),
    [
        # Printed from WVS_Cross-National_Wave_7_sav_v2_0.sav and the CsvText of a national file.
        ("wvs", "-5", "Other missing; Multiple answers Mail (EVS)", "not_available_release"),
        ("wvs", "-5", "Missing; Not available; AU: Other", "not_available_release"),
        ("wvs", "-5", "Missing; Not applicable for other reasons", "not_available_release"),
        ("wvs", "-5", "INAP: No internet/no social media", "not_applicable"),
        ("wvs", "-1", "Don´t know", "dont_know"),
        # Printed from the Stata files of the time series and the integrated file.
        ("wvs", ".e", "Missing: other", "not_available_release"),
        ("wvs", ".d", "Not asked in survey", "not_asked"),
        # WVS-6 codebook.
        (
            "wvs",
            "-5",
            "BH: Missing; AR,DE,SE: Inapplicable;RU: Inappropriate response{Inappropriate}",
            "not_available_release",
        ),
        ("wvs", "-5", "RU:Inappropiate response", "not_available_release"),
        ("wvs", "-3", "Not applicable (SE:Non active persons){Not applicable]", "not_applicable"),
        ("wvs", "-2", "No answer; BH: Refused", "refused_or_no_answer"),
        ("wvs", "-1", "Don´t know; SG: Unsure{Don´t know}", "dont_know"),
        # Printed from ZA7500.
        ("evs2017", "-10", "multiple answers Mail", "invalid"),
        ("evs2017", "-9", "no follow-up", "not_asked"),
        ("evs2017", "-8", "follow-up non response", "refused_or_no_answer"),
        ("evs2017", "-6", "na (survey break-off)", "refused_or_no_answer"),
        ("evs2017", "-5", "other missing", "not_available_release"),
        ("evs2017", "-4", "item not included", "not_asked"),
        ("evs2017", "-1", "dont know", "dont_know"),
    ],
)
def test_labels_that_producers_write(conventions, convention, code, label, kind):
    for declares in (False, True):
        assert kind_of_code(code, label, conventions[convention], file_declares=declares, categorical=True) == kind


def test_declared_codes_and_ranges():
    assert is_declared("-3", ["-5..-1"])
    assert is_declared("-3", ["-3"])
    assert not is_declared("0", ["-5..-1"])
    assert not is_declared("x", ["-5..-1"])


def test_labels_are_compared_without_their_typography():
    assert plain("  Don’t   KNOW ") == "don't know"
    assert plain("Né à l’étranger") == "ne a l'etranger"


@pytest.mark.parametrize("codebook", ["wvs", "joint", "evs2017", "evs_trend"])
@pytest.mark.parametrize(
    ("code", "label", "kind"),
    [
        ("9", "NA", "refused_or_no_answer"),  # sex in wave 4
        ("0", "na", "refused_or_no_answer"),
        ("9", "dk", "dont_know"),
        ("99", "DK/NA", "dont_know"),
        ("99", "DK", "dont_know"),
        ("98", "Don\u00b4t know", "dont_know"),
        ("8", "No sabe", "dont_know"),
        ("9", "NS/NC", "dont_know"),
        ("9", "No contesta", "refused_or_no_answer"),
        ("97", "Refused", "refused_or_no_answer"),
        ("5", "Not applicable (not of country)", "not_applicable"),
        ("0", "INAP; no spouse", "not_applicable"),
        ("6", "Not asked in survey", "not_asked"),
        ("99", "Missing; unknown", "not_available_release"),
        ("-2", "DK", "dont_know"),  # the label decides between two missing codes, too
        ("-1", "Dont know,NA", "dont_know"),
        ("0", "None", None),
        ("3", "Neither", None),
        ("4", "Not allowed to vote", None),
        ("516", "Namibia", None),
        ("1", "NATO", None),
        ("2", "Not mentioned", None),
        ("4", "I don't know anybody there", None),
    ],
)
def test_positive_codes_are_missing_by_their_label_alone(conventions, codebook, code, label, kind):
    assert kind_of_code(code, label, conventions[codebook]) == kind


@pytest.mark.parametrize(
    ("code", "label", "kind"),
    [
        ("9", "NA", "refused_or_no_answer"),
        ("99", "dk,na", "dont_know"),
        ("0", "NAP", "not_applicable"),
        ("0", "Not applicable", "not_applicable"),
        ("8", "Some other", None),
    ],
)
def test_positive_codes_of_old_gss_files(conventions, code, label, kind):
    assert kind_of_code(code, label, conventions["gss"]) == kind

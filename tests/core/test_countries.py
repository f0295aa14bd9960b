"""Protects the recognition of countries: whole names and codes, never a part of a name."""

import pytest

from mpta_pipeline.core.countries import country_code


@pytest.mark.parametrize(
    ("name", "code"),
    [
        ("USA", "USA"), ("us", "USA"), ("the United States", "USA"), ("United States of America", "USA"),
        ("Russia", "RUS"), ("Russian Federation", "RUS"), ("Turkey", "TUR"), ("Türkiye", "TUR"),
        ("South Korea", "KOR"), ("north korea", "PRK"), ("Niger", "NER"), ("Nigeria", "NGA"), ("Guinea", "GIN"),
        ("Guinea-Bissau", "GNB"), ("Kosovo", "XKX"), ("Iran", "IRN"), (" Germany ", "DEU"),
        ("saudi arabia", "SAU"), ("the State of Palestine", "PSE"), ("the Netherlands", "NLD"), ("atlantis", None),
        ("Korea", None), ("United", None), ("Nig", None), ("", None), ("Republic", None),
    ],
)  # fmt: skip
def test_whole_names_and_codes(name, code):
    assert country_code(name) == code


def test_the_spellings_of_one_file_come_first():
    assert country_code("Britain", {"britain": "GBR"}) == "GBR"
    assert country_code("Britain") is None
    assert country_code("US", {"britain": "GBR"}) == "USA"

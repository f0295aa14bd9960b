"""Protects the reading of CSV files as producers write them: delimiters, quotes, decimal commas, ends of lines."""

from __future__ import annotations

from pathlib import Path

import pytest

from mpta_pipeline import surveys
from mpta_pipeline.core.errors import SurveyFileError
from mpta_pipeline.core.storage import Layout
from mpta_pipeline.surveys import opening, readers
from tests.factories.survey_files import write, wvs7, wvs_people
from tests.shared_data import real


def read(path: Path, text: str, encoding: str = "utf-8") -> tuple[list[str], list[tuple[object, ...]]]:
    """Names and rows of a CSV file of this text."""
    path.write_bytes(text.encode(encoding))
    with opening.opened(path) as file:
        info = readers.describe(file)
        frames = list(readers.chunks(info))
    rows = [row for frame in frames for row in frame.rows()]
    assert info.rows == len(rows)
    return info.names, rows


@pytest.mark.parametrize(
    "text",
    [
        "A_WAVE,Q1,Q2\n7,1,-2\n7,2,0.5\n",
        "A_WAVE;Q1;Q2\r\n7;1;-2\r\n7;2;0,5\r\n",
        # A national file of WVS-7 ends its lines of data with a delimiter, and not its header.
        "\ufeffA_WAVE;Q1;Q2\n7;1;-2;\n7;2;0.5;\n",
        "A_WAVE;Q1;Q2;\n7;1;-2;\n7;2;0.5;\n",
        '"A_WAVE","Q1: Important in life: Family","Q2: Friends"\n"7","1","-2"\n"7","2","0.5"\n\n\n',
        "A_WAVE\tQ1\tQ2\n7\t1\t-2\n\n7\t2\t0.5",
        # Excel says the separator on a line of its own, and writes decimal commas in quotes where fields have commas.
        "sep=;\nA_WAVE;Q1;Q2\n7;1;-2\n7;2;0,5\n",
        '"sep=,"\r\nA_WAVE,Q1,Q2\r\n7,1,-2\r\n7,2,"0,5"\r\n',
    ],
)
def test_one_table_in_every_dress(tmp_path: Path, text: str) -> None:
    assert read(tmp_path / "x.csv", text) == (["A_WAVE", "Q1", "Q2"], [(7, 1, -2.0), (7, 2, 0.5)])


def test_rows_that_have_names(tmp_path: Path) -> None:
    """R's write.csv and pandas put the rows' names first, without a name for the column."""
    names, rows = read(tmp_path / "x.csv", '"","A_WAVE","Q1"\n"1",7,-2\n"2",7,0.5\n')
    assert names == ["row_name", "A_WAVE", "Q1"]
    assert rows == [(1, 7, -2.0), (2, 7, 0.5)]


def test_lines_with_a_field_that_the_header_does_not_name_are_refused(tmp_path: Path) -> None:
    """R's write.table names no column for the rows' names: every answer would stand one column too far left."""
    with pytest.raises(SurveyFileError, match=r"one field more than the header.*row\.names"):
        read(tmp_path / "x.csv", 'A_WAVE,Q1,Q2\n"1",7,1,-2\n"2",7,2,0.5\n')


@pytest.mark.parametrize("empty", ["", " ", "NA", "NaN", ".", "NULL", "<NA>", "#NULL!"])
def test_what_programs_write_for_an_empty_cell(tmp_path: Path, empty: str) -> None:
    assert read(tmp_path / "x.csv", f"Q1,Q2\n1,{empty}\n2,3\n")[1] == [(1, None), (2, 3)]


def test_a_cell_of_a_megabyte(tmp_path: Path) -> None:
    text = "x" * 1_000_000
    assert read(tmp_path / "x.csv", f"Q1,said\n1,{text}\n")[1] == [(1, text)]


def test_quoted_line_breaks_and_delimiters_stay_in_their_cell(tmp_path: Path) -> None:
    names, rows = read(tmp_path / "x.csv", 'id,said\n1,"two\nlines"\n2,"a, b ""c"""\n3,"last\nline"')
    assert names == ["id", "said"]
    assert rows == [(1, "two\nlines"), (2, 'a, b "c"'), (3, "last\nline")]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a,b,c\n1,2,3\n4,5\n7,8,9\n", "line 3 has 2 of 3 fields"),
        ("a,b,c\n1,2,3\n4,5,6,7\n7,8,9\n", "line 3 has 4 of 3 fields"),
        ("a,b,c\n1,2,3\n4,5,6\n7,8", "line 4 has 2 of 3 fields"),
        ('a,b,c\n1,2,3\n4,5,"secret', "line 3 is not valid CSV"),
        ("a;b;c\n1;2;3;\n4;5;\n", "line 3 has 3 of 4 fields"),
    ],
)
def test_a_line_that_is_not_whole_is_refused_by_its_number(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(SurveyFileError, match=said) as refusal:
        read(tmp_path / "x.csv", text)
    assert "secret" not in str(refusal.value), "nobody's answers belong into a message"


def test_a_file_of_labels_is_refused_with_the_remedy(tmp_path: Path, registry: surveys.SourceRegistry) -> None:
    """CsvText of the WVS: the same header, followed by its label, and words in the cells."""
    made = tmp_path / "codes.csv"
    write(wvs7(wvs_people()), made)
    header, *lines = made.read_text(encoding="utf-8").splitlines()
    names = header.split(",")
    sex = names.index("Q260")

    def worded(line: str) -> str:
        cells = line.split(",")
        cells[sex] = "Male" if cells[sex] == "1" else "Female"
        return ";".join(f'"{cell}"' for cell in cells) + ";"

    text = ";".join(f'"{name} {"Sex" if name == "Q260" else "Label"}"' for name in names)
    (tmp_path / "text.csv").write_text("\n".join([text, *map(worded, lines)]), encoding="utf-8")
    with pytest.raises(SurveyFileError, match="words where codes of wvs7 are expected") as refusal:
        surveys.recognize(tmp_path / "text.csv", registry)
    assert "CsvText" in str(refusal.value)


@pytest.mark.parametrize("name", ["ethics/cm_test.csv", "normad/normad_sample_5rows.csv", "truthfulqa/TruthfulQA.csv"])
def test_tables_that_are_no_surveys_are_refused_for_that(name: str, registry: surveys.SourceRegistry) -> None:
    path = real(f"benchmarks/{name}")
    with pytest.raises(SurveyFileError, match="matches no known survey"):
        surveys.recognize(path, registry)


def test_a_semicolon_file_comes_out_as_the_comma_file(tmp_path: Path, registry: surveys.SourceRegistry) -> None:
    made = tmp_path / "wvs.csv"
    write(wvs7(wvs_people()), made)
    lines = made.read_text(encoding="utf-8").splitlines()
    assert not any('"' in line for line in lines)
    other = tmp_path / "other" / "wvs.csv"
    other.parent.mkdir()
    body = (line.replace(",", ";").replace(".", ",") + ";" for line in lines[1:])
    other.write_text("\ufeff" + "\r\n".join([lines[0].replace(",", ";"), *body]), encoding="utf-8")
    one, two = (
        surveys.ingest(path, "wvs-7", Layout(tmp_path / f"data-{n}"), registry) for n, path in enumerate((made, other))
    )
    numbers = [v for v, storage in one.variables.select("variable", "storage").rows() if storage != "String"]
    assert one.data(numbers).equals(two.data(numbers))
    assert surveys.respondents(one)["respondent_id"].equals(surveys.respondents(two)["respondent_id"])


def test_a_list_of_codes_is_no_number_with_a_decimal_comma(tmp_path: Path) -> None:
    _, rows = read(tmp_path / "x.csv", 'A,B,C\n1,"1,2","0,955"\n2,"3","1,12"\n')
    assert rows == [(1, "1,2", 0.955), (2, "3", 1.12)]


@pytest.mark.parametrize("word", ["E1", "e5", ".e5", "-", "+", "1e400", "-1e999"])
def test_what_is_no_number_is_kept_as_it_stands(tmp_path: Path, word: str) -> None:
    """An answer that no float holds is told as a code; it does not turn into an empty cell or infinity."""
    assert read(tmp_path / "x.csv", f"Q1,Q2\n1,{word}\n2,3\n")[1] == [(1, word), (2, "3")]


@pytest.mark.parametrize("number", ["1", "-1", "+1", "1.", ".5", "1.50", "1e3", "2E-3", "0", "0.955"])
def test_every_way_of_writing_a_number_is_one(tmp_path: Path, number: str) -> None:
    assert read(tmp_path / "x.csv", f"Q1,Q2\n1,{number}\n2,3\n")[1] == [(1, float(number)), (2, 3)]


@pytest.mark.parametrize("first", [9007199254740992, 123456789012345678, 9223372036854775806, -9007199254740993])
def test_ids_too_large_for_a_float_stay_apart(tmp_path: Path, first: int) -> None:
    rows = read(tmp_path / "x.csv", f"id,Q1\n{first},1\n{first + 1},2\n")[1]
    assert rows == [(str(first), 1), (str(first + 1), 2)]


def test_points_and_commas_in_one_column_are_no_numbers(tmp_path: Path) -> None:
    """1.234 may be one and a bit, or a thousand."""
    assert read(tmp_path / "x.csv", "A;B\n1.234;2\n1,5;3\n")[1] == [("1.234", 2), ("1,5", 3)]


@pytest.mark.parametrize("spare", ["", ","])
def test_stray_quotes_that_merge_lines_are_refused(tmp_path: Path, spare: str) -> None:
    lines = ["A,B,said,C"] + [f"{n},{n},x{n},5{spare}" for n in range(9)]
    for start, end in ((2, 3), (6, 8)):
        lines[start] = lines[start].replace(",x", ',"x', 1)
        lines[end] = lines[end].removesuffix(f",5{spare}") + f'",5{spare}'
    with pytest.raises(SurveyFileError, match=r"Stray quotes merge lines of the file: 2 row\(s\)"):
        read(tmp_path / "x.csv", "\n".join(lines) + "\n")


def test_a_comment_of_several_lines_is_no_merged_row(tmp_path: Path) -> None:
    said = "Well, yes,\nno, and so,\non, and on, and on"
    assert read(tmp_path / "x.csv", f'A,B,said,C\n1,2,"{said}",4\n')[1] == [(1, 2, said, 4)]


def test_lines_that_end_as_on_old_macs_are_refused_for_that(tmp_path: Path) -> None:
    with pytest.raises(SurveyFileError, match="carriage return only"):
        read(tmp_path / "x.csv", "A,B\r1,2\r3,4\r")


@pytest.mark.parametrize(("text", "delimiter"), [("1.0|-2.0|1.5|E1", ","), ("1,0|-2,0|1,5|E1", ";")])
def test_one_word_among_numbers_leaves_the_other_codes_what_they_are(tmp_path: Path, text: str, delimiter: str) -> None:
    """pandas writes a column with an empty cell as 1.0, 2.0: those are the codes 1 and 2 beside a word, too."""
    lines = [f"Q1{delimiter}Q2", *(f"1{delimiter}{cell}" for cell in text.split("|"))]
    rows = read(tmp_path / "x.csv", "\n".join(lines) + "\n")[1]
    assert [cell for _, cell in rows] == ["1", "-2", text.split("|")[2], "E1"]

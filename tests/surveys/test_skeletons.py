"""Files made from skeletons can be read back in every format, and hold what the skeleton says."""

import polars as pl
import pyreadstat
import pytest

from tests.factories import skeletons

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("form", ["little.dta", "big.dta", "x.sav", "x.csv"])
@pytest.mark.parametrize("name", skeletons.many())
def test_a_generated_file_is_what_its_skeleton_says(name, form, tmp_path):
    skeleton = skeletons.load(name)
    path = skeletons.write(skeleton, tmp_path / form, rows=120, big_endian=form == "big.dta")
    if path.suffix == ".csv":
        data, meta = pl.read_csv(path, infer_schema_length=None), None
    else:
        read = pyreadstat.read_dta if path.suffix == ".dta" else pyreadstat.read_sav
        data, meta = read(path, user_missing=True, output_format="polars")
    assert (data.columns, data.height) == (skeleton.names, 120)
    for variable in skeleton.variables:
        name, column = variable["name"], data[variable["name"]].drop_nulls()
        if len(variable.get("counts", ())) in range(1, 120) and variable["dtype"] != "String":
            kept = pl.Series([float(c) for c in variable["counts"]]).cast(pl.Float32)
            assert set(column.cast(pl.Float32)) == set(kept), name
        if meta is None:
            continue
        assert (meta.column_names_to_labels[name] or None) == (variable.get("label") or None)
        if variable["dtype"] != "String":
            labels = {float(c): t.rstrip() for c, t in meta.variable_value_labels.get(name, {}).items()}
            kept = variable.get("value_labels", {}).items()
            assert labels == {float(c): t[: 120 if form == "x.sav" else None].rstrip() for c, t in kept}
        if form.endswith(".dta") and "storage_width" in variable:
            assert meta.variable_storage_width[name] == variable["storage_width"]
    if form == "big.dta":
        assert path.read_bytes()[1] == 1


def test_columns_are_drawn_alone_and_the_same_each_time(tmp_path):
    backwards = str(skeletons.BACKWARDS)
    skeleton = skeletons.Skeleton(
        "x.dta",
        100,
        None,
        [
            {"name": "id", "dtype": "Int64", "nulls": 0, "values": 100, "min": 1.0, "max": 100.0},
            {"name": "Q1", "dtype": "Int64", "nulls": 10, "counts": {"-1": "1-4", "1": 60, "2": 28}},
            {"name": "I", "dtype": "Float64", "storage_width": 4, "nulls": 0, "counts": {"0.5": 90, backwards: 10}},
        ],
    )
    first, again = skeletons.frame(skeleton), skeletons.frame(skeleton, drop=["id"])
    assert first.drop("id").equals(again)
    assert first["id"].n_unique() == 100
    assert first["Q1"].null_count() == 10
    assert not first.drop("id").equals(skeletons.frame(skeleton, seed=2, drop=["id"]))
    path = skeletons.write(skeleton, tmp_path / "x.dta", big_endian=True)
    assert path.read_bytes().count(bytes([0, 0, 0, 0x7F])) >= 10
    data, _ = pyreadstat.read_dta(path, output_format="polars")
    assert (data["I"] < 1e-40).sum() == 10
    proper, _ = pyreadstat.read_dta(
        skeletons.write(skeleton, tmp_path / "y.dta", big_endian=True, backwards=False), output_format="polars"
    )
    assert proper["I"].null_count() == 10 and data["Q1"].null_count() == 10

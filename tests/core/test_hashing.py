"""Ids and versions must depend on content alone: not on row order, chunking, machine or Python's hash seed."""

import hashlib

import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mpta_pipeline.core.hashing import content_hash, digest, hash_rows, hash_uniform


def test_digest_is_sha256_of_length_prefixed_parts():
    expected = hashlib.sha256((1).to_bytes(8, "little") + b"a" + (2).to_bytes(8, "little") + b"bc").hexdigest()
    assert digest("a", "bc", length=64) == expected


def test_digest_keeps_parts_and_nulls_apart():
    assert digest("ab", "c") != digest("a", "bc")
    assert digest(None) != digest("")


def test_hash_rows_equals_hashlib():
    frame = pl.DataFrame({"a": ["x", None], "b": [1, 2]})
    assert hash_rows(frame, ["a", "b"], key="k", length=64).to_list() == [
        hashlib.sha256(b"k\x1fx\x1f1").hexdigest(),
        hashlib.sha256(b"k\x1f\x00\x1f2").hexdigest(),
    ]


@settings(deadline=None)
@given(st.lists(st.text(), min_size=1, max_size=20), st.randoms())
def test_a_row_hash_does_not_depend_on_row_order(values, random):
    frame = pl.DataFrame({"v": values})
    order = list(range(len(values)))
    random.shuffle(order)
    assert hash_rows(frame, ["v"])[order].to_list() == hash_rows(frame[order], ["v"]).to_list()


def test_hash_uniform_is_uniform_and_keyed():
    frame = pl.DataFrame({"i": range(20_000)})
    u = hash_uniform(frame, ["i"], key="one")
    assert u.min() >= 0 and u.max() < 1
    # Kolmogorov–Smirnov distance of 20,000 uniform numbers stays below 1.63/sqrt(n) with 99 %.
    ranks = (pl.arange(1, 20_001, eager=True)) / 20_000
    assert (u.sort() - ranks).abs().max() < 1.63 / 20_000**0.5
    assert (
        abs(pl.DataFrame({"a": u, "b": hash_uniform(frame, ["i"], key="two")}).select(pl.corr("a", "b")).item()) < 0.03
    )


def test_content_hash_ignores_chunks_and_what_lies_under_a_null():
    whole = pl.DataFrame({"a": [1, 2, None], "b": ["x", "y", "z"]})
    parts = pl.concat([whole[:1], whole[1:]], rechunk=False)
    masked = pl.DataFrame({"a": [1, 2, 99], "b": ["x", "y", "z"]}).with_columns(
        pl.when(pl.col("a") == 99).then(None).otherwise(pl.col("a")).alias("a")
    )
    assert content_hash(whole) == content_hash(parts) == content_hash(masked)
    assert content_hash(whole) != content_hash(whole.reverse())
    assert content_hash(whole) != content_hash(whole.rename({"a": "c"}))

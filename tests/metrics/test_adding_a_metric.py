"""A metric is one file: written into the folder of definitions, it is computed, described and shown in the report."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

NEW = '''
"""How often a reply can be read, per answer that was asked for."""

import polars as pl

from mpta_pipeline.metrics.metric import Metric

METRICS = (
    Metric(
        name="readable_share",
        label="replies that could be read",
        definition="Share of answers, over all option orders, whose reply could be read",
        unit="share",
        low=0.0,
        high=1.0,
        direction="higher",
        source="invented for this test",
        family="readable",
        chance="none",
        value=pl.col("n_ok"),
        count=pl.col("n_orders"),
        proportion=True,
        paired=True,
        gap=True,
        keyless=True,
    ),
)
'''

# The folder of definitions gets a further place, as if the file lay beside the others, before any metric is loaded.
USE = """
import base64, gzip, importlib.machinery, importlib.util, sys
from datetime import UTC, datetime
import mpta_pipeline

name, folder = "mpta_pipeline.metrics.definitions", sys.argv[1]
own = f"{mpta_pipeline.__path__[0]}/metrics/definitions"
spec = importlib.util.spec_from_file_location(name, f"{own}/__init__.py", submodule_search_locations=[own, folder])
package = importlib.util.module_from_spec(spec)
sys.modules[name] = package
spec.loader.exec_module(package)

from mpta_pipeline import metrics, report
from mpta_pipeline.core.study import EstimateRules, Study, TaskConfig
from mpta_pipeline.metrics.metric import describe
from tests.factories.scores import world

scores, groups, gold = world(personas=20, items=4, orders=1)
rules = EstimateRules(dimensions=("sex",), bootstrap=50)
estimates = metrics.compute_estimates(scores, groups, gold, rules=rules)
mine = estimates.filter(metric="readable_share", baseline="", condition="persona")
assert {"all", "sex"} <= set(mine["dimensions"]), mine
assert mine["estimate"].drop_nulls().is_between(0, 1).all() and mine["effect"].is_not_null().any()
assert metrics.check_estimates(estimates)
assert "| `readable_share` | Share of answers, over all option orders" in describe()
study = Study(name="s", tasks={"t": TaskConfig(kind="value_alignment")}, figures=rules)
now = datetime(2026, 1, 1, tzinfo=UTC)
html = report.render_report(
    {"subgroup_metrics": estimates}, study=study, metrics=metrics.METRICS, title="t", generated=now
)
assert "invented for this test" in html
packed = html.split('id="estimates">')[1].partition("<")[0]
shown = gzip.decompress(base64.b64decode(packed)).decode()
assert "replies that could be read" in shown.lower(), "the chart of subgroups"
print("seen everywhere")
"""


def test_a_metric_is_one_file(tmp_path: Path) -> None:
    (tmp_path / "readable_share.py").write_text(NEW, encoding="utf-8")
    done = subprocess.run([sys.executable, "-c", USE, str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "seen everywhere", done.stderr

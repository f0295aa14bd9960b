"""Make the third-party files that the report carries: `python -m tools.vendored COUNTRIES-110M.json`.

The argument is `countries-110m.json` of the npm package world-atlas 2.0.2. Versions and licences are in
`mpta_pipeline/report/vendor/README.md`; change them there when you change them here.
"""

from __future__ import annotations

import gzip
import json
import sys
from pathlib import Path
from typing import Any

import pycountry

FOLDER = Path(__file__).parents[1] / "mpta_pipeline" / "report" / "vendor"
VEGA_LITE = "6.4"
SNIPPET = "window.vegaEmbed = vegaEmbed;"
# Shapes that Natural Earth gives no ISO code. The surveys count their people under these codes (`core.countries`).
WITHOUT_CODE = {"Kosovo": "XKX", "N. Cyprus": "CYP", "Somaliland": "SOM"}
LEFT_OUT = {"Antarctica", "Fr. S. Antarctic Lands"}


def bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script that sets `window.vegaEmbed`."""
    import vl_convert

    return str(vl_convert.javascript_bundle(SNIPPET, vl_version=VEGA_LITE))


def world(atlas: dict[str, Any]) -> dict[str, Any]:
    """The countries of the atlas under their ISO 3166-1 alpha-3 codes, without Antarctica."""
    alpha = {country.numeric: country.alpha_3 for country in pycountry.countries}
    shapes = [
        {"type": shape["type"], "arcs": shape["arcs"], "id": alpha.get(shape.get("id", ""), WITHOUT_CODE.get(name, ""))}
        for shape in atlas["objects"]["countries"]["geometries"]
        if (name := shape["properties"]["name"]) not in LEFT_OUT
    ]
    used = sorted({index if index >= 0 else ~index for shape in shapes for index in _indices(shape["arcs"])})
    place = {old: new for new, old in enumerate(used)}
    for shape in shapes:
        shape["arcs"] = _renumbered(shape["arcs"], place)
    countries = {"type": "GeometryCollection", "geometries": shapes}
    return {
        "type": "Topology",
        "objects": {"countries": countries},
        "transform": atlas["transform"],
        "arcs": [atlas["arcs"][old] for old in used],
    }


def _indices(arcs: Any) -> list[int]:
    return [arcs] if isinstance(arcs, int) else [index for part in arcs for index in _indices(part)]


def _renumbered(arcs: Any, place: dict[int, int]) -> Any:
    if isinstance(arcs, int):
        return place[arcs] if arcs >= 0 else ~place[~arcs]
    return [_renumbered(part, place) for part in arcs]


if __name__ == "__main__":
    (FOLDER / "vega.js.gz").write_bytes(gzip.compress(bundle().encode(), 9, mtime=0))
    made = world(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8")))
    (FOLDER / "world.json").write_text(json.dumps(made, separators=(",", ":")) + "\n", encoding="utf-8")

"""Report what the crosswalk makes of each variable of a file: matched, set aside with the reason, or unknown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from mpta_pipeline.harmonize.crosswalk import Crosswalk
from mpta_pipeline.harmonize.recode import column_sources, columns_set_aside
from mpta_pipeline.surveys import RawWave


def variable_states(raw: RawWave, crosswalk: Crosswalk) -> Mapping[str, dict[str, Any]]:
    """Native variable, as in the file → `state` and, if there are any, `columns` and `why`.

    `matched`: it fills harmonized columns. `set aside`: it would, but the file says something that the crosswalk does
    not understand (if only some cells are set aside, it is matched, with the reason). `identity`: key, country, year,
    weight or design. `unknown`: no concept names it.
    """
    made: dict[str, list[str]] = {}
    for column, variable in column_sources(raw, crosswalk).select("column", "variable").rows():
        made.setdefault(variable, []).append(column)
    aside: dict[str, list[str]] = {}
    lost: dict[str, list[str]] = {}
    for problem in columns_set_aside(raw, crosswalk):
        aside.setdefault(problem.variable, []).append(str(problem))
        lost.setdefault(problem.variable, []).append(problem.column)
    source = raw.source
    roles = [*source.waves.variable, *source.country.variable, *source.country.cow, *source.year, *source.dates]
    roles += [*(v for key in source.key.variables for v in key), *(w.variable for w in source.weights)]
    roles += [*source.stratum, *source.psu, *source.version, *source.doi]
    own = {name.lower() for name in roles}
    found: dict[str, dict[str, Any]] = {}
    for variable in raw.variables.sort("position")["variable"]:
        columns = sorted(set(made.get(variable, ())))
        state = "matched" if columns else "set aside" if variable in aside else "unknown"
        if state == "unknown" and variable.lower() in own:
            state = "identity"
        why = list(dict.fromkeys(aside.get(variable, ())))
        found[variable] = {
            "state": state,
            **({"columns": columns or sorted(set(lost[variable]))} if columns or variable in lost else {}),
            **({"why": why[:5]} if why else {}),
        }
    return found

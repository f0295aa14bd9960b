"""A first look at a study: open it, recompute a figure, plot it, score answers of your own, add a model.

    marimo edit docs/notebooks/first_look.py      # in the browser
    python docs/notebooks/first_look.py           # from top to bottom, as the tests do

It reads the study in `MPTA_DATA_DIR` (by default `data/`), e.g. that of `mpta demo`, and sends no request.
"""

import marimo

__generated_with = "0.25.2"
app = marimo.App(width="medium")


@app.cell
def imports():
    import marimo as mo
    import polars as pl
    import yaml

    import mpta_pipeline

    return mo, mpta_pipeline, pl, yaml


@app.cell
def introduction(mo):
    mo.md(
        """
        # A first look at a study

        Change a cell, and every cell that depends on it runs again. The frames are [polars](https://pola.rs) frames.
        """
    )
    return


@app.cell
def open_the_study(mpta_pipeline):
    study = mpta_pipeline.open()  # or mpta_pipeline.open("path/to/data")
    study.tables()
    return (study,)


@app.cell
def explain_the_columns(study):
    study.columns("reported_estimates")
    return


@app.cell
def estimates_by_sex(study):
    estimates = study.reported_estimates(metric="accuracy", dimensions="sex", condition="persona", control=False)
    estimates.select("model", "task", "survey", "subgroup", "estimate", "ci_low", "ci_high", "n_answers", "small")
    return


@app.cell
def recompute_a_figure(mo, pl, study):
    # The strict accuracy of one group, without weights, is the share of its single answers that are right: five lines.
    asked = {
        "metric": "accuracy_strict",
        "dimensions": "sex",
        "condition": "persona",
        "weighted": False,
        "baseline": "",
    }
    first = study.estimates(**asked).row(0, named=True)
    group = study.table("memberships", dimension="sex", value=first["subgroup"], survey=first["survey"])
    answers = study.scores(model=first["model"], task=first["task"], condition="persona", survey=first["survey"])
    answers = answers.join(group, on="respondent_id", how="semi").filter(pl.col("gold_idx").is_not_null())
    recomputed = (answers["score"].fill_null(0).sum()) / answers.height

    assert abs(recomputed - first["estimate"]) < 1e-9
    mo.md(f"{first['model']}, {first['task']}, {first['subgroup']}: **{recomputed:.3f}**, as published.")
    return (first,)


@app.cell
def follow_it_to_the_survey_file(first, study):
    trace = study.trace(first["estimate_id"])
    trace.select("respondent_id", "wave", "file_name", "variable", "native_code", "native_label").head(10)
    return


@app.cell
def plot_it(first, study):
    study.plot_estimates(metric="accuracy", dimensions="sex", condition="persona", task=first["task"])
    return


@app.cell
def score_answers_of_your_own(mpta_pipeline, pl):
    # Any frame or file with questions, answers and people's own answers. Here: a model that always says yes.
    own = pl.DataFrame(
        {
            "respondent_id": ["p1", "p2", "p3", "p4"] * 2,
            "region": ["north", "north", "south", "south"] * 2,
            "question": ["Should taxes rise?"] * 4 + ["Is work a duty?"] * 4,
            "options": ["yes|no"] * 8,
            "answer": ["yes"] * 8,
            "own_answer": ["yes", "yes", "no", "no", "yes", "no", "no", "no"],
        }
    )
    scored = mpta_pipeline.score(own, by=["region"])
    scored.reported_estimates().filter(metric="accuracy").select(
        "dimensions", "subgroup", "estimate", "ci_low", "ci_high"
    )
    return


@app.cell
def add_a_model(mo, yaml):
    # An entry of models.yaml. Paste it there, set the key in the environment, look at `mpta plan`, then `mpta run`.
    entry = {
        "models": {
            "my-model": {
                "provider": "openai",
                "base_url": "http://127.0.0.1:8000/v1",
                "model": "Qwen/Qwen2.5-7B-Instruct",
                "budget": 20,
            }
        }
    }
    mo.md(f"```yaml\n{yaml.safe_dump(entry, sort_keys=False)}```")
    return


if __name__ == "__main__":
    app.run()

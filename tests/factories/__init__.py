"""Made test data, one module per thing that is made. Nothing in here contains a real respondent's answers.

| module | makes |
|---|---|
| `survey_files` | small survey files as each producer writes them: names, labels, codes, weights, ids |
| `skeletons` | survey files with the full structure of a described real file and random answers |
| `raw_waves` | ingested raw waves from a few columns, without a file |
| `small_survey` | a harmonized survey of two codebooks with its crosswalk and study |
| `task_tables` | items, gold, prompts and constant responses of a study over `small_survey` |
| `benchmark_items` | items of benchmarks, also from BBQ's own rows |
| `model_calls` | prompts and model specifications for the inference engine |
| `provider_server` | a server in every provider's format that misbehaves on cue |
| `producer_site` | a website of a survey producer |
| `scores` | scores, groups and gold of people with a known skill |
| `stored_study` | every stored table of a small study, each value computable by hand |
| `deployment` | a whole deployment: configuration, survey files, and a model server that counts its requests |

Files that cannot be made (licensed surveys, published benchmarks) are found by `tests.shared_data`.
"""

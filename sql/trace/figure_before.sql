-- A figure that another one has replaced, by the id it had, and what stands in its place now.
with standing as (
    select
        figure_key,
        weighted,
        any_value(figure_id) as now_id,
        any_value(estimate) as now_estimate,
        any_value(release_ids) as now_release_ids
    from figures
    group by figure_key, weighted
)

select
    figures_before.figure_id,
    figures_before.figure_key,
    figures_before.metric,
    figures_before.weighted,
    figures_before.estimate,
    figures_before.n_answers,
    figures_before.release_ids,
    figures_before.until,
    standing.now_id,
    standing.now_estimate,
    standing.now_release_ids
from figures_before
left join standing
    on
        figures_before.figure_key = standing.figure_key
        and figures_before.weighted = standing.weighted
where figures_before.figure_id = getvariable('identifier')

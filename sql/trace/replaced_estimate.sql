-- An estimate that another one has replaced, by the id it had, and what stands in its place now.
with standing as (
    select
        estimate_key,
        weighted,
        any_value(estimate_id) as now_id,
        any_value(estimate) as now_estimate,
        any_value(release_ids) as now_release_ids
    from estimates
    group by estimate_key, weighted
)

select
    replaced_estimates.estimate_id,
    replaced_estimates.estimate_key,
    replaced_estimates.metric,
    replaced_estimates.weighted,
    replaced_estimates.estimate,
    replaced_estimates.n_answers,
    replaced_estimates.release_ids,
    replaced_estimates.until,
    standing.now_id,
    standing.now_estimate,
    standing.now_release_ids
from replaced_estimates
left join standing
    on
        replaced_estimates.estimate_key = standing.estimate_key
        and replaced_estimates.weighted = standing.weighted
where replaced_estimates.estimate_id = getvariable('identifier')

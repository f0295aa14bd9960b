-- One row per estimate, as the report shows it: weighted if the survey has weights, with its baselines in the same row.
--
-- subgroup_metrics has a row with weights and one without, and one more of each per baseline. Sums and averages over
-- that table count an estimate several times; here they do not.
with first_rows as (
    select * exclude (baseline, baseline_estimate)  -- noqa: AM04
    from estimates
    where baseline = ''
    qualify weighted = bool_or(weighted) over (partition by estimate_key)
),

unweighted as (
    select
        estimate_key,
        estimate as unweighted_estimate
    from estimates
    where baseline = '' and not weighted
),

beside as (
    select
        estimate_key,
        weighted,
        list(struct_pack(baseline := baseline, baseline_estimate := baseline_estimate) order by baseline) as baselines,
        any_value(baseline_estimate) filter (where baseline = 'chance') as chance,
        any_value(baseline_estimate) filter (where baseline = 'item_mode') as most_frequent
    from estimates
    where baseline <> ''
    group by estimate_key, weighted
)

select
    first_rows.*,  -- noqa: AM04
    case when first_rows.weighted then unweighted.unweighted_estimate end as unweighted_estimate,
    coalesce(beside.baselines, []) as baselines,
    beside.chance,
    beside.most_frequent,
    coalesce(models.control, false) as control
from first_rows
left join unweighted on first_rows.estimate_key = unweighted.estimate_key
left join beside on first_rows.estimate_key = beside.estimate_key and first_rows.weighted = beside.weighted
left join models on first_rows.model = models.model

-- The release that a wave, release id, file name or SHA-256 (its first 12 digits are enough) names.
select
    wave,
    survey,
    codebook,
    title,
    release_id,
    file_name,
    sha256,
    version,
    doi,
    n_respondents,
    weight_name,
    licence,
    data_use
from waves
where
    getvariable('identifier') in (wave, release_id, file_name)
    or (length(getvariable('identifier')) >= 12 and starts_with(sha256, lower(getvariable('identifier'))))
order by wave, release_id

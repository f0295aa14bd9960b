-- The respondents that wave:key names. The key is the survey's own, with or without the wave at its beginning.
select respondent_id
from respondents
where
    starts_with(getvariable('identifier'), wave || ':')
    and substr(getvariable('identifier'), length(wave) + 2) in (
        native_key,
        substr(native_key, length(split_part(wave, '-', -1)) + 2)
    )
    and (
        substr(getvariable('identifier'), length(wave) + 2) = native_key
        or starts_with(native_key, split_part(wave, '-', -1) || ':')
    )

-- Where the traced people come from: wave, release, file, and their row in the wave (rows counted from 1).
select
    traced.respondent_id,
    traced.survey,
    traced.wave,
    waves.title as wave_title,
    traced.release_id,
    waves.file_name,
    waves.sha256,
    traced.native_key,
    traced.row_index + 1 as wave_row,
    traced.country,
    traced.year,
    traced.weight,
    waves.weight_name,
    waves.licence,
    waves.data_use
from traced
left join waves on traced.wave = waves.wave and traced.release_id = waves.release_id
order by traced.respondent_id

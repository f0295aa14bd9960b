-- The native variable of each harmonized column of a release, with the question as put to a person.
--
-- A concept may name several spellings of a variable, and a file may use another case. The file's spelling is shown.
select
    waves.wave,
    waves.release_id,
    concepts.codebook,
    concepts.column,
    any_value(concepts.concept order by concepts.concept) as concept,
    any_value(concepts.label order by concepts.concept) as label,
    any_value(concepts.question order by concepts.concept) as question,
    min(variables.variable) as variable,
    arg_min(variables.label, variables.variable) as variable_label
from waves
inner join concepts on waves.codebook = concepts.codebook and concepts.column is not null
inner join variables
    on
        waves.wave = variables.wave
        and waves.release_id = variables.release_id
        and lower(concepts.variable) = lower(variables.variable)
group by waves.wave, waves.release_id, concepts.codebook, concepts.column

-- Which native variable each harmonized column of a wave was made from, with the question as put to a person.
select
    waves.wave,
    concepts.dialect,
    concepts.column,
    any_value(concepts.concept order by concepts.concept) as concept,
    any_value(concepts.label order by concepts.concept) as label,
    any_value(concepts.question order by concepts.concept) as question,
    string_agg(distinct variables.variable, ' + ' order by variables.variable) as variable,
    any_value(variables.label order by variables.variable) as variable_label
from waves
inner join concepts on waves.dialect = concepts.dialect and concepts.column is not null
inner join variables on waves.wave = variables.wave and concepts.variable = variables.variable
group by waves.wave, concepts.dialect, concepts.column

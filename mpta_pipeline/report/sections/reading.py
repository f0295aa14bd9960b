"""How to read the page: conditions, intervals, baselines, comparisons with everyone else."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>Each persona is a real respondent of a survey. The model is shown some of the respondent's answers about themselves and is then asked a
  question. The right answer is the respondent's own (survey tasks) or that of the answer key (benchmark tasks).</p>
<ul>
  <li><b>With persona</b>: the model is shown the respondent's traits. <b>Demographics only</b>: it is shown who they are, but not what they believe.
    <b>No persona</b>: it is shown only the question. The <b>effect of the persona</b> is the difference between with and without persona, for the same question, options and respondent.</li>
{% if view.waves %}  <li>Every question is asked with its options in several orders, and the replies are averaged before the model's choice is determined: a model
    that always says “A” scores at chance level.</li>
{% endif %}  <li><b>Intervals</b> are {{ view.confidence }} and take into account that answers of one person, and answers to one question, resemble each other. A wide interval means few people
    or few questions.</li>
  <li><b>Chance</b> is guessing evenly. <b>Most frequent answer</b> is always giving the answer that most respondents gave: a model below that mark tells less about
    these people than one table of the survey.</li>
  <li><b>Against everyone else</b>: “differs” means that the subgroup's estimate differs from the rest (q ≤ {{ view.level }}); “alike”, that both are shown to be within
    {{ words.number(study.figures.equivalence_margin, share=True, unit=False) }} points of each other; “unclear”, that there are too few data for either. The number is the difference. If subgroups stand out, the others are
    compared without them, because they would make all others differ; both differences are then shown. Tests are corrected for their number, so a single interval that excludes 0 is not
    a finding.</li>
  <li><b>People</b> counts respondents, <b>answers</b> counts replies of the model. Grey rows have fewer than {{ view.min_personas }} people, or weights so uneven that the people count as fewer.</li>
</ul>
"""


SECTION = Section(
    name="read",
    order=20,
    title="How to read this",
    template=TEMPLATE,
)

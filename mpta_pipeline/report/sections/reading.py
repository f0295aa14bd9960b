"""How to read the page: conditions, intervals, baselines, comparisons with everyone else."""

from __future__ import annotations

from mpta_pipeline.report.section import Section

TEMPLATE = """\
<p>Each persona is a real respondent of a survey. The model is told some of what the respondent said about themselves and is then asked a
  question. What counts as right is the respondent's own answer (survey tasks) or the answer key (benchmark tasks).</p>
<ul>
  <li><b>With persona</b>: the model is shown the respondent's traits. <b>Demographics only</b>: only who they are, not what they believe.
    <b>No persona</b>: the question alone. The difference on the same question, options and respondent is the <b>effect of the persona</b>.</li>
{% if view.waves %}  <li>Every question is asked with its options in several orders, and the answers are averaged before the choice is read off: a model
    that always says “A” comes out at chance.</li>
{% endif %}  <li><b>Intervals</b> are {{ view.confidence }} and allow for answers of one person, and answers to one question, resembling each other. Where an interval is wide, few people
    or few questions stand behind it.</li>
  <li><b>Chance</b> is guessing evenly. <b>Most frequent answer</b> is always giving the answer that most respondents gave: a model below that line knows less about
    these people than a single table of the survey does.</li>
  <li><b>Against everyone else</b>: “differs” means that the subgroup's estimate is surely another one than that of all others. Where a subgroup stands out, the others are
    judged without it, as it would make all of them differ; both differences are shown, “alike” that the two are shown to be within
    {{ words.number(study.figures.equivalence_margin, share=True, unit=False) }} points, “unclear” that there is too little data for either. The number is the difference. Tests are corrected for how many there are, so a single interval that excludes 0 is
    no finding yet.</li>
  <li><b>People</b> counts respondents, <b>answers</b> counts replies of the model. Grey rows have fewer than {{ view.min_personas }} people, or weights so uneven that they count as fewer.</li>
</ul>
"""


SECTION = Section(
    name="read",
    order=20,
    title="How to read this",
    template=TEMPLATE,
)

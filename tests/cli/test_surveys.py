"""`mpta surveys`: what files and records a deployment has, and what is wrong with them."""

from typer.testing import CliRunner

from mpta_pipeline import cli


def test_an_own_record_that_cannot_be_used_is_named_also_without_survey_files(world):
    for path in world.surveys.iterdir():
        path.unlink()
    (world.config / "sources").mkdir()
    (world.config / "sources" / "mine.yaml").write_text("codebook: [\n")
    done = CliRunner().invoke(cli.app, ["surveys"])
    assert done.exit_code == 0
    assert "There is no survey file" in done.stdout
    assert "mine" in done.stderr and "Set aside" in done.stderr


def test_explain_needs_a_file_and_says_what_it_lacks(world):
    refused = CliRunner().invoke(cli.app, ["surveys", "--explain"])
    assert "--explain needs a file" in str(refused.exception)
    file = world.surveys / "other.csv"
    file.write_text("a,b\n1,2\n")
    done = CliRunner().invoke(cli.app, ["surveys", str(file), "--explain"])
    assert done.exit_code == 0 and "is not recognized" in done.stderr
    assert "How near the file is to each source" in done.stdout and "gss" in done.stdout

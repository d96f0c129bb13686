"""What a run publishes is read by anyone while it runs."""


def test_it_can_be_read_from_outside_while_the_run_goes_on(stage):
    run = stage.start("metadata.published", options={"metadata": {"by": "ada"}})
    stage.until_noted(run, "busy")
    progress = {"done": 1, "total": 3, "note": "one of three"}
    assert {"by": "ada", "customer": {"id": "c1"}, "progress": progress} == run.refresh().metadata
    stage.open(run, "busy")
    assert {"by": "ada", "progress": progress} == stage.ended(run).metadata


def test_an_edit_of_the_function_is_made_once_however_often_its_line_is_replayed(stage):
    run = stage.start("metadata.replayed")
    assert {"rows": 5, "log": ["a", "b"]} == run.result(timeout=20)
    assert {"rows": 5, "log": ["a", "b"]} == run.refresh().metadata
    assert 3 == run.row.epoch


def test_a_run_edits_that_of_its_parent_and_of_the_root_of_its_family(stage):
    run = stage.ended(stage.start("metadata.root"))
    (branch,) = stage.children(run)
    (leaf,) = stage.children(branch)
    assert [{"seen": ["leaf"]}, {"leaves": 1}, {"in_a_body": 1}] == [each.metadata for each in (run, branch, leaf)]

import concurrent.futures
import logging

import grpc
import pytest
from apache_beam.options.pipeline_options import DirectOptions, StandardOptions
from apache_beam.runners.portability.fn_api_runner.fn_runner import FnApiRunner

from pipeline.run import beam_options
from pipeline.run.beam_options import OptionError, is_in_process, is_remote, make_runner, parse, shares_process


@pytest.mark.parametrize(
    ("flags", "in_process", "shares"),
    [
        ([], True, True),
        (["--runner=DirectRunner"], True, True),
        (["--runner", "DirectRunner", "--direct_running_mode=in_memory"], True, True),
        (["--runner=DirectRunner", "--direct_running_mode=multi_processing"], True, False),
        (["--runner=PrismRunner"], False, False),
        (["--runner=DataflowRunner", "--project=p", "--region=r"], False, False),
    ],
)
def test_which_runs_are_in_this_process(flags, in_process, shares):
    options = parse(flags)
    assert is_in_process(options) == in_process
    assert shares_process(options) == shares


@pytest.mark.parametrize(
    ("given", "name"),
    [
        ("directrunner", "DirectRunner"),
        ("direct", "DirectRunner"),
        ("apache_beam.runners.direct.direct_runner.DirectRunner", "DirectRunner"),
        ("apache_beam.runners.direct.DirectRunner", "DirectRunner"),
        ("fnapirunner", "FnApiRunner"),
        ("dataflowrunner", "DataflowRunner"),
        ("apache_beam.runners.dataflow.dataflow_runner.DataflowRunner", "DataflowRunner"),
        ("PRISM", "PrismRunner"),
        ("flinkRunner", "FlinkRunner"),
        ("mine.runners.DirectRunner", "mine.runners.DirectRunner"),
    ],
)
def test_a_runner_is_named_as_beam_takes_it(given, name):
    as_given, by_name = (parse([f"--runner={runner}", "--dry_run=True"]) for runner in (given, name))
    assert as_given.view_as(StandardOptions).runner == name
    for question in (is_in_process, shares_process, is_remote, beam_options.is_dry_run):
        assert question(as_given) == question(by_name)
    assert is_in_process(as_given) == (name in ("DirectRunner", "FnApiRunner"))


@pytest.mark.parametrize("runner", ["no.such.Runner", "apache_beam.runners.NoneRunner"])
def test_a_runner_that_does_not_exist_is_one_line(runner):
    flags = [f"--runner={runner}"]
    with pytest.raises(OptionError, match=rf"can't use the runner {runner}: .*no"):
        make_runner(parse(flags), flags, 1)


@pytest.mark.parametrize(
    ("flags", "remote"),
    [
        ([], False),
        (["--direct_running_mode=multi_processing"], False),
        (["--runner=DataflowRunner", "--project=p", "--region=r"], True),
        (["--runner=PortableRunner", "--job_endpoint=localhost:1"], True),
        (["--runner=PortableRunner", "--job_endpoint=localhost:1", "--environment_type=LOOPBACK"], False),
        (["--runner=PrismRunner"], False),
        (["--runner=PrismRunner", "--environment_type=EXTERNAL", "--environment_config=localhost:1"], True),
        (["--runner=FlinkRunner"], False),
        (["--runner=FlinkRunner", "--flink_master=cluster:8081"], True),
        (["--runner=SparkRunner"], False),
        (["--runner=SparkRunner", "--spark_master_url=spark://cluster:7077"], True),
    ],
)
def test_which_runs_go_on_without_this_process(flags, remote):
    assert is_remote(parse(flags)) == remote


@pytest.mark.parametrize("runner", [[], ["--runner=DirectRunner"]])
def test_local_runs_get_threads_on_all_cores_but_no_more_than_shards(monkeypatch, runner):
    monkeypatch.setattr(beam_options, "num_cores", lambda: 6)
    for shards, workers in ((0, 1), (1, 1), (4, 4), (100, 6)):
        options = parse(runner)
        assert isinstance(make_runner(options, runner, shards), FnApiRunner)
        direct = options.view_as(DirectOptions)
        assert (direct.direct_running_mode, direct.direct_num_workers) == ("multi_threading", workers)


def test_what_the_user_says_of_workers_is_kept():
    flags = ["--direct_num_workers=3", "--direct_running_mode=multi_processing"]
    options = parse(flags)
    make_runner(options, flags, 100)
    direct = options.view_as(DirectOptions)
    assert (direct.direct_running_mode, direct.direct_num_workers) == ("multi_processing", 3)
    spaced = ["--direct_num_workers", "3"]
    options = parse(spaced)
    make_runner(options, spaced, 100)
    assert options.view_as(DirectOptions).direct_num_workers == 3


def test_other_runners_are_beams():
    server = grpc.server(concurrent.futures.ThreadPoolExecutor(1))
    flags = ["--runner=PortableRunner", f"--job_endpoint=localhost:{server.add_insecure_port('localhost:0')}"]
    server.start()
    options = parse(flags)
    assert type(make_runner(options, flags, 1)).__name__ == "PortableRunner"
    assert options.view_as(StandardOptions).runner == "PortableRunner"
    server.stop(None).wait()


def test_a_job_server_that_does_not_answer_is_one_line(monkeypatch):
    monkeypatch.setattr(beam_options, "ANSWER_SECONDS", 0.2)
    flags = ["--runner=PortableRunner", "--job_endpoint=localhost:1"]
    with pytest.raises(OptionError, match="no job server answers at --job_endpoint=localhost:1"):
        make_runner(parse(flags), flags, 1)


def test_a_job_server_that_can_not_be_started_is_one_line(tmp_path):
    flags = ["--runner=PortableRunner"]
    with pytest.raises(OptionError, match=r"PortableRunner could not start its job server: .*--job_endpoint"):
        make_runner(parse(flags), flags, 1)
    (tmp_path / "prism").write_text("not a program")
    flags = ["--runner=PrismRunner", f"--prism_location={tmp_path}/prism"]
    with pytest.raises(OptionError, match="PrismRunner could not start its job server"):
        make_runner(parse(flags), flags, 1)


@pytest.mark.parametrize("runner", [[], ["--runner=DirectRunner"], ["--runner=DataflowRunner"]])
def test_an_option_that_nobody_knows_is_an_error(runner):
    with pytest.raises(OptionError, match="neither cambeam nor Beam knows the option --direct_num_wokers=2"):
        parse([*runner, "--direct_num_wokers=2"])


def test_a_stray_word_is_an_error():
    with pytest.raises(OptionError, match="knows the option extra"):
        parse(["extra"])


def test_a_bad_value_is_an_error():
    with pytest.raises(OptionError, match=r"direct_num_workers.*invalid int value: 'two'"):
        parse(["--direct_num_workers=two"])


def test_behind_a_job_server_it_is_a_warning(caplog):
    with caplog.at_level(logging.WARNING, "cambeam"):
        parse(["--runner=FlinkRunner", "--flink_only_knows=1"])
    assert "--flink_only_knows=1" in caplog.text


def test_options_of_the_config_become_flags_that_the_command_line_beats():
    configured = {"runner": "DataflowRunner", "num_workers": 4, "no_use_public_ips": True, "experiments": ["a", "b=c"]}
    as_flags = [
        "--runner=DataflowRunner",
        "--num_workers=4",
        "--no_use_public_ips",
        "--experiments=a",
        "--experiments=b=c",
    ]
    assert beam_options.merge(configured, []) == as_flags
    # a list is added to, and its items of the same key are replaced
    given = ["--experiments=b=e", "--experiments", "d", "--num_workers", "2"]
    kept = ["--runner=DataflowRunner", "--no_use_public_ips", "--experiments=a"]
    assert beam_options.merge(configured, given) == kept + given
    assert beam_options.merge(configured, ["--experiments", "b=e"])[-3:] == ["--experiments=a", "--experiments", "b=e"]


@pytest.mark.parametrize(
    ("flags", "dry_run", "only_builds"),
    [
        (["--runner=DataflowRunner"], False, False),
        (["--runner=DataflowRunner", "--dry_run=True"], True, True),
        (["--runner=DataflowRunner", "--template_location=gs://b/t"], False, True),
        (["--dry_run=True"], False, False),  # Beam's in-process runner would run it all the same
    ],
)
def test_which_runs_only_build_a_job(flags, dry_run, only_builds):
    options = parse(flags)
    assert beam_options.is_dry_run(options) == dry_run
    assert beam_options.only_builds_job(options) == only_builds

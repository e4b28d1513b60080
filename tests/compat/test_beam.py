"""The undocumented names of Apache Beam are there, and do what tfscale takes them for."""

import logging

import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from tfscale.compat.beam import OptionParser, direct_runner, is_local, own_log, takes_one


def test_all_options_are_known():
    known = OptionParser().known()
    assert {"runner", "flink_master", "spark_master_url", "direct_num_workers"} <= set(known)
    assert takes_one(known["region"])
    assert not takes_one(known["experiments"])
    with pytest.raises(ValueError, match="invalid int value"):
        OptionParser().parse_known_args(["--direct_num_workers=two"])


def test_the_direct_runner_is_local():
    assert is_local(direct_runner(PipelineOptions([])))


def test_options_that_are_discarded_are_heard():
    heard = []
    with own_log(heard.append):
        PipelineOptions(["--wholly_unknown=1"]).get_all_options()
        assert logging.getLogger().handlers
    assert heard == ["'--wholly_unknown=1'"]

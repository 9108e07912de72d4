# Copyright (c) mmfft authors. All rights reserved.
import pytest
from torch import distributed

from mmfft.engine import command_line
from mmfft.errors import ConfigError


def test_config_errors_are_one_line_and_others_stay(capsys):
    with pytest.raises(SystemExit) as stop, command_line('train.py'):
        raise ConfigError('img_size=0')
    assert stop.value.code == 2
    assert capsys.readouterr().err == 'train.py: error: img_size=0\n'
    with pytest.raises(ValueError, match='a bug'):
        with command_line('train.py'):
            raise ValueError('a bug')


def test_processes_part_at_the_end():
    distributed.init_process_group(
        'gloo', store=distributed.HashStore(), rank=0, world_size=1
    )
    with command_line('train.py'):
        assert distributed.is_initialized()
    assert not distributed.is_initialized()

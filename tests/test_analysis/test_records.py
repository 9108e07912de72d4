# Copyright (c) mmfft authors. All rights reserved.
import pytest

from mmfft.analysis.records import Records
from mmfft.errors import ConfigError


def test_rows_are_found_again(tmp_path):
    path = tmp_path / 'new' / 'rows.csv'
    records = Records(path, ('name', 'size'), ('speed', 'memory'))
    assert dict(name='a, b', size=224) not in records
    records.add(dict(name='a, b', size=224, speed=0.1, memory=None))
    again = Records(path, ('name', 'size'), ('speed', 'memory'))
    assert again.rows == records.rows
    assert again.rows == [
        dict(name='a, b', size='224', speed=0.1, memory=None)
    ]
    assert dict(name='a, b', size=224) in again
    assert dict(name='a, b', size='224', more=1) in again
    assert again[dict(name='a, b', size=224)]['speed'] == 0.1
    assert dict(name='a, b', size=225) not in again
    with pytest.raises(KeyError, match='225'):
        again[dict(name='a, b', size=225)]


def test_a_file_of_something_else_is_left_alone(tmp_path):
    path = tmp_path / 'rows.csv'
    Records(path, ('name',), ('speed',)).add(dict(name='a', speed=1))
    before = path.read_text()
    with pytest.raises(ConfigError, match='name.*speed.*memory'):
        Records(path, ('name',), ('memory',))
    assert path.read_text() == before

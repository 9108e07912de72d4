# Copyright (c) mmfft authors. All rights reserved.
import json

import pytest

from mmfft.engine.json_files import write_json


def test_a_file_is_whole_or_as_it_was(tmp_path, monkeypatch):
    path = tmp_path / 'new' / 'file.json'
    write_json(path, dict(a=1))
    assert path.read_text() == '{\n  "a": 1\n}\n'
    write_json(path, [1, 2], indent=None)
    assert path.read_text() == '[1, 2]\n'

    def fail(self, target):
        raise KeyboardInterrupt

    monkeypatch.setattr('pathlib.Path.replace', fail)
    with pytest.raises(KeyboardInterrupt):
        write_json(path, dict(b=2))
    assert json.loads(path.read_text()) == [1, 2]

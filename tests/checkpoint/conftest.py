import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from attack_parts import MODULE


@pytest.fixture
def marker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A file that must not exist after the test; an importable module makes it when it is imported."""
    home = tmp_path / "reach"
    home.mkdir()
    path = home / "marker"
    code = f"open({str(path)!r}, 'w')\nclass Thing: pass\ndef function(*_, **__): return Thing()\n"
    (home / f"{MODULE}.py").write_text(code)
    monkeypatch.syspath_prepend(str(home))
    monkeypatch.chdir(home)
    yield path
    assert sorted(each.name for each in home.iterdir() if each.name != "__pycache__") == [f"{MODULE}.py"]
    assert sys.modules.pop(MODULE, None) is None and not path.exists()

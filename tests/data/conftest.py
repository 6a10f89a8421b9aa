from pathlib import Path

import pytest
from data_parts import write_layout

from realign.data.prepare.run import prepare


@pytest.fixture(scope="session")
def layout(tmp_path_factory) -> Path:
    lengths = {f"{i:06d}": 42 + 5 * i for i in range(28)}
    return write_layout(tmp_path_factory.mktemp("layout") / "set", lengths)


@pytest.fixture(scope="session")
def prepared(layout, tmp_path_factory) -> Path:
    out = tmp_path_factory.mktemp("prepared") / "out"
    prepare(layout, out)
    return out

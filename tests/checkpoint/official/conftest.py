from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from official_parts import DEVIATIONS, read_spec, write_published

Write = Callable[[str, str], list[Path]]


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> Write:
    """published(peer, variant): paths of its synthetic files, each variant written once."""
    written: dict[tuple[str, str], list[Path]] = {}

    def write(peer: str, variant: str) -> list[Path]:
        if (peer, variant) not in written:
            folder = tmp_path_factory.mktemp(f"{peer}_{variant}")
            written[peer, variant] = write_published(read_spec(peer)["variants"][variant], folder)
        return written[peer, variant]

    return write


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """With -v: the deviation of every array that was compared."""
    if config.getoption("verbose") > 0 and DEVIATIONS:
        terminalreporter.section("largest deviation, in the array's largest magnitude")
        for name, deviation in sorted(DEVIATIONS.items()):
            terminalreporter.line(f"{deviation:.1e}  {name}")

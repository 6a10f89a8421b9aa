"""Every notebook runs from top to bottom, in an empty folder."""

import os
from collections.abc import Iterator
from pathlib import Path

import nbformat
import pytest
from jupyter_client.manager import KernelManager
from nbclient import NotebookClient

NOTEBOOKS = sorted((Path(__file__).parents[1] / "notebooks").glob("*.ipynb"))


@pytest.fixture(scope="module")
def kernel(tmp_path_factory: pytest.TempPathFactory) -> Iterator[KernelManager]:
    """One kernel for all notebooks, since their imports take longer than their code."""
    manager = KernelManager()
    manager.start_kernel(env=os.environ | {"REALIGN_CACHE": str(tmp_path_factory.mktemp("cache"))})
    yield manager
    manager.shutdown_kernel(now=True)


@pytest.mark.filterwarnings("ignore::Warning")  # warnings of the kernel's libraries
@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_the_notebook_runs(path: Path, tmp_path: Path, kernel: KernelManager) -> None:
    notebook = nbformat.read(path, as_version=4)
    notebook.cells.insert(0, nbformat.v4.new_code_cell(f"%reset -f\n%cd -q {tmp_path}"))
    client = NotebookClient(notebook, km=kernel, timeout=300)
    try:
        client.execute()
    finally:
        client.kc.stop_channels()
    failed = [output for cell in notebook.cells for output in cell.get("outputs", []) if output.output_type == "error"]
    assert not failed
    assert not any(cell.get("outputs") for cell in nbformat.read(path, as_version=4).cells)  # kept free of outputs

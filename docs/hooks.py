"""Pages of the site that lie elsewhere in the repository, and their links, for mkdocs."""

import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.plugins import event_priority
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]
PAGES = {
    "README.md": "index.md",
    "CONTRIBUTING.md": "contributing.md",
    "CHANGELOG.md": "changelog.md",
    "realign/pretrained/README.md": "weights.md",
}
"""Places in the site by those in the repository; notebooks keep theirs, and what is in docs loses that folder."""
_LINK = re.compile(r"(!?)\[((?:[^\[\]]|\[[^\]]*\])*)\]\(([^)\s]+)\)")


@event_priority(100)  # before the plugin that makes pages of notebooks
def on_files(files: Files, config: Any) -> Files:
    """Add what lies outside docs."""
    for source, place in PAGES.items():
        files.append(File.generated(config, place, abs_src_path=str(ROOT / source)))
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        files.append(File(f"notebooks/{path.name}", str(ROOT), config.site_dir, config.use_directory_urls))
    return files


def on_page_markdown(markdown: str, page: Any, **_: Any) -> str:
    """Let links lead to places in the site."""
    place = page.file.src_uri
    source = next((each for each, target in PAGES.items() if target == place), f"docs/{place}")
    return _LINK.sub(lambda found: relinked(found, source, place), markdown)


def relinked(found: re.Match[str], source: str, place: str) -> str:
    """A link of a page of the repository as one of the site; one to what the site lacks becomes its text."""
    picture, text, link = found.groups()
    text = _LINK.sub(lambda inner: relinked(inner, source, place), text)  # a picture inside a link
    name, mark, anchor = link.partition("#")
    if not name or "://" in name or name.startswith("mailto:"):
        return f"{picture}[{text}]({link})"
    path = posixpath.normpath(posixpath.join(posixpath.dirname(source), name))
    inside = path.startswith(("docs/", "notebooks/"))
    if not inside and path not in PAGES and (ROOT / path).exists():
        return text
    target = PAGES.get(path, path.removeprefix("docs/"))
    return f"{picture}[{text}]({posixpath.relpath(target, posixpath.dirname(place) or '.')}{mark}{anchor})"

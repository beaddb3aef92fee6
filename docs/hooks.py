"""Puts the measured tables beside the pages, so that links to them hold here as in the repository."""

from __future__ import annotations

from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

MEASURED = ("benchmarks/results/*.md", "benchmarks/results/*.png")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the tables as pages, their pictures, and a list of them."""
    root = Path(config.config_file_path).parent
    found = sorted(path for pattern in MEASURED for path in root.glob(pattern))
    for path in found:
        name = path.relative_to(root).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    rows = [f"- [{_title(path)}]({path.name})" for path in found if path.suffix == ".md"]
    content = "\n".join(["# Measured", "", "Each table names the command that made it.", "", *rows, ""])
    files.append(File.generated(config, "benchmarks/results/index.md", content=content))
    return files


def on_page_markdown(markdown: str, /, **_: object) -> str:
    """Let links out of ``docs/`` lead to what was added."""
    return markdown.replace("](../benchmarks/", "](benchmarks/")


def _title(path: Path) -> str:
    first = path.read_text(encoding="utf-8").lstrip().split("\n", 1)[0]
    return first.lstrip("# ")

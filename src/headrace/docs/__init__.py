"""The pages for people, as Markdown: what `/docs` shows, and what is read in the repository."""

from pathlib import Path
from typing import Final

HOME: Final = "quick-start"
API: Final = "api"
"""Has no Markdown: it is made from the routes."""
_FOLDER: Final = Path(__file__).parent
PAGES: Final = {
    HOME: "Quick start",
    "concepts": "Concepts",
    API: "HTTP API",
    "workers": "Workers",
    "operations": "Operations",
    "deployment": "Deployment",
    "metrics": "Metrics",
    "problems": "Problems",
    "performance": "How fast, how safe",
}
"""In the order of the navigation."""


def read(name: str) -> str:
    """Return the Markdown of a page."""
    return (_FOLDER / f"{name}.md").read_text(encoding="utf-8")


def style() -> str:
    return (_FOLDER / "docs.css").read_text(encoding="utf-8")

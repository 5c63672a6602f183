"""The pages for people, as Markdown: what `/docs` shows, and what is read in the repository."""

from importlib.resources import files
from typing import Final

HOME: Final = "quick-start"
API: Final = "api"
"""Has no Markdown: it is made from the routes."""
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
    return (files(__name__) / f"{name}.md").read_text(encoding="utf-8")


def style() -> str:
    return (files(__name__) / "docs.css").read_text(encoding="utf-8")

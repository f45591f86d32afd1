"""Sphinx's settings: `sphinx-build -W -b html docs build/docs`, with pylstm and its extra `docs` installed."""

from __future__ import annotations

import importlib.util
import inspect
from types import ModuleType
from typing import Any

from sphinx.application import Sphinx
from sphinx.util import logging

import pylstm

project = "pylstm"
author = "pylstm developers"
release = version = pylstm.__version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 3
html_theme = "furo"
html_title = f"pylstm {release}"
html_copy_source = False
html_show_sourcelink = False

# ---- the API pages: from the docstrings ------------------------------------------------------------------------------

default_role = "py:obj"  # `name` in a docstring: a link where it names something here, else code
# Libraries whose base classes are not here: nothing of them is described.
autodoc_mock_imports = [name for name in ("joblib", "sklearn", "threadpoolctl") if not importlib.util.find_spec(name)]
autodoc_preserve_defaults = True
autodoc_member_order = "bysource"
autodoc_typehints = "none"  # the texts say what is taken: shapes and dtypes, which hints do not
autodoc_default_options = {"members": True}

nitpicky = True
nitpick_ignore_regex = [
    ("py:obj", r".*"),  # see default_role: code that names nothing is no mistake
    ("py:class", r"numpy\..*"),
]


def public_names(module: ModuleType, listed: list[str]) -> dict[str, list[str]]:
    """Every public name among those listed that is no module, and every public attribute of its classes; each with the
    names of which one has to be described: its own or a base class's."""
    names = {}
    for name in listed:
        value = getattr(module, name)
        if name.startswith("_") or inspect.ismodule(value):
            continue
        own = f"{module.__name__}.{name}"
        names[own] = [own]
        if not inspect.isclass(value):
            continue
        foreign = next(base for base in value.__mro__ if base.__module__ == "builtins")  # object, tuple, ValueError
        for attribute in dir(value):
            if attribute == "__call__" or not (attribute.startswith("_") or hasattr(foreign, attribute)):
                bases = [base.__name__ for base in value.__mro__ if hasattr(base, attribute)]
                places = [f"{holder}.{base}" for base in bases for holder in (module.__name__, pylstm.__name__)]
                names[f"{own}.{attribute}"] = [f"{place}.{attribute}" for place in places]
    return names


def check_all_is_there(app: Sphinx, error: Exception | None) -> None:
    """Warns, which -W makes an error, of every public name that no page describes."""
    if error is not None:
        return
    described = app.env.get_domain("py").objects
    wanted = public_names(pylstm, dir(pylstm)) | public_names(pylstm.reference, pylstm.reference.__all__)
    for name, places in wanted.items():
        if not any(place in described for place in places):
            logging.getLogger(__name__).warning(f"{name} is public, and no page in docs/api describes it")


def setup(app: Sphinx) -> dict[str, Any]:
    app.connect("build-finished", check_all_is_there)
    return {"parallel_read_safe": True}

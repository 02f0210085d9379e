"""Griffe extension: renders the section `Example:` of a docstring as code, like `Examples:`.

`mkdocs.yml` names the extension, and `make docs` runs it.
"""

import re
from typing import Any

import griffe


class Examples(griffe.Extension):
    """Renames the section before Griffe parses the docstring."""

    def on_object(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        if obj.docstring:
            obj.docstring.value = re.sub(
                r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE
            )

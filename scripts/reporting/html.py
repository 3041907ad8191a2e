"""HTML pieces. Text is escaped here; what is already HTML is marked as such."""

from __future__ import annotations

import base64
import html
from collections.abc import Iterable, Mapping, Sequence


class Markup(str):
    """A string that is HTML already."""

    __slots__ = ()


def escape(value: object) -> Markup:
    """Text as HTML; :class:`Markup` stays as it is."""
    return value if isinstance(value, Markup) else Markup(html.escape(str(value)))


def tag(name: str, content: object = "", kind: str = "", **attributes: str) -> Markup:
    """``<name class="kind">content</name>``."""
    given = {"class": kind, **attributes} if kind else attributes
    text = "".join(f' {key}="{html.escape(value)}"' for key, value in given.items())
    return Markup(f"<{name}{text}>{escape(content)}</{name}>")


def join(parts: Iterable[str], between: str = "\n") -> Markup:
    """Several pieces of HTML as one."""
    return Markup(between.join(escape(part) for part in parts))


def table(
    heads: Sequence[str], rows: Iterable[Sequence[object]], numbers: Iterable[int] = (), kind: str = ""
) -> Markup:
    """A table that scrolls when it is too wide. numbers: columns that are aligned to the right."""
    right = set(numbers)

    def cells(name: str, values: Sequence[object]) -> Markup:
        return join((tag(name, value, "n" if i in right else "") for i, value in enumerate(values)), "")

    body = join(tag("tr", cells("td", row)) for row in rows)
    return tag(
        "div", tag("table", join([tag("thead", tag("tr", cells("th", heads))), tag("tbody", body)]), kind), "scroll"
    )


def definitions(items: Mapping[str, object]) -> Markup:
    """A list of terms with what belongs to them."""
    return tag("dl", join(join([tag("dt", name), tag("dd", value)], "") for name, value in items.items()))


def details(summary: str, content: object, opened: bool = False) -> Markup:
    """A part that folds away."""
    start = "<details open>" if opened else "<details>"
    return Markup(f"{start}{tag('summary', summary)}{escape(content)}</details>")


def data_uri(content: bytes, mime: str) -> str:
    """Bytes inside the page."""
    return f"data:{mime};base64,{base64.b64encode(content).decode()}"

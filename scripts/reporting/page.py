"""The page: everything in one file, styles, script, pictures and film included."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime
from pathlib import Path
from string import Template

from .bundle import bundle
from .data import RunData
from .html import Markup, data_uri, join, tag
from .sections import about, configuration, curves, evaluation, film, glossary, headline, provenance, rewards

HERE = Path(__file__).parent
PAGE = Template(
    """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline';
 script-src 'unsafe-inline'; img-src data:; media-src data:">
<title>$title</title>
<style>
$style</style>
</head>
<body>
<main>
$body
</main>
<script>
$script</script>
</body>
</html>
"""
)


def render(run: RunData) -> str:
    """The whole page."""
    title = f"{run.name} report"
    style, script = (HERE / name for name in ("report.css", "report.js"))
    return PAGE.substitute(
        title=tag("span", title)[6:-7],
        style=style.read_text(encoding="utf-8"),
        script=script.read_text(encoding="utf-8"),
        body=_body(run),
    )


def _body(run: RunData) -> Markup:
    parts = {
        "Result": headline(run),
        "Behaviour": tag("div", join([tag("div", film(run, *_film(run))), tag("div", about(run), "card")]), "two"),
        "Evaluation": evaluation(run),
        "Learning curves": curves(run),
        "Reward": rewards(run),
        "Bundle": bundle(run),
        "Configuration": configuration(run),
        "Provenance": provenance(run),
        "Glossary": glossary(run),
    }
    links = join((tag("a", name, href=f"#{anchor(name)}") for name in list(parts)[1:]), "")
    sections = [
        tag("section", join([tag("h2", name), content]), id=anchor(name)) for name, content in list(parts.items())[1:]
    ]
    return join([_header(run, links), _notes(run), parts["Result"], *sections, footer()])


def _header(run: RunData, links: Markup) -> Markup:
    text = str(run.task.get("description") or "")
    sub = ". ".join(part for part in (text, f"Run {run.path.resolve().name}") if part)
    return tag("header", join([tag("h1", run.name), tag("p", sub, "sub"), tag("nav", links)]))


def _notes(run: RunData) -> Markup:
    if not run.notes:
        return Markup("")
    items = tag("ul", join(tag("li", note) for note in run.notes), "notes")
    return tag("div", join([tag("p", "Some of this run could not be read:"), items]), "card")


def footer() -> Markup:
    """When it was written."""
    made = f"Written {datetime.now(UTC):%Y-%m-%d %H:%M} UTC by the embodied RL suite. This file needs no network."
    return tag("footer", made)


def anchor(name: str) -> str:
    """What a link to a section of this name says."""
    return name.lower().replace(" ", "-")


def _film(run: RunData) -> tuple[str | None, str | None]:
    """The video and a frame of it as data URIs; None for what is not there."""
    if run.video is None:
        return None, None
    try:
        still = data_uri(_frame(run.video), "image/jpeg")
    except Exception as error:  # a broken file may raise anything from the codec library
        run.notes.append(f"{run.video.name} could not be read: {error}")
        return None, None
    return data_uri(run.video.read_bytes(), "video/mp4"), still


def _frame(path: Path, share: float = 0.2) -> bytes:
    """A frame, ``share`` of the way through, as JPEG."""
    import av
    import cv2

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        frames = itertools.islice(container.decode(stream), int(share * stream.frames), None)
        picture = next(frames).to_ndarray(format="bgr24")
    return cv2.imencode(".jpg", picture, [cv2.IMWRITE_JPEG_QUALITY, 82])[1].tobytes()

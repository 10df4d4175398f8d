"""A frame as an SVG picture that stands alone: no script, no fonts fetched from anywhere."""

from __future__ import annotations

import io

from rich.console import Console, RenderableType

_FORMAT = """\
<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">
<style>
.{unique_id}-matrix {{
  font-family: ui-monospace, "DejaVu Sans Mono", Menlo, Consolas, monospace;
  font-size: {char_height}px; line-height: {line_height}px; white-space: pre;
}}
.{unique_id}-title {{ font-family: ui-sans-serif, system-ui, sans-serif; font-size: 18px; }}
{styles}
</style>
<defs>
<clipPath id="{unique_id}-clip-terminal">
<rect x="0" y="0" width="{terminal_width}" height="{terminal_height}"/>
</clipPath>
{lines}
</defs>
{chrome}
<g transform="translate({terminal_x}, {terminal_y})"
   clip-path="url(#{unique_id}-clip-terminal)">
{backgrounds}
<g class="{unique_id}-matrix">
{matrix}
</g>
</g>
</svg>
"""
"""rich's own format names a font on a CDN; a picture in a README must not call anybody."""


def picture(frame: RenderableType, *, width: int, title: str) -> str:
    """Draw *frame* as a terminal *width* characters wide would show it, in colour."""
    console = Console(
        record=True, width=width, file=io.StringIO(), force_terminal=True, no_color=False
    )
    console.print(frame)
    return console.export_svg(title=title, code_format=_FORMAT)

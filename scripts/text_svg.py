#!/usr/bin/env python3
"""Text from stdin as an SVG of fixed width, in the colours of a terminal, light or dark as the reader's system is."""

import html
import sys
import textwrap

MOST = 104


def folded(line):
    """A long line in several, the later ones indented."""
    indent = len(line) - len(line.lstrip()) + 2
    return textwrap.wrap(line, MOST, subsequent_indent=" " * indent, drop_whitespace=True, break_long_words=False)


text = sys.stdin.read().rstrip("\n").split("\n")
lines = [part for line in text for part in (folded(line) if len(line) > MOST else [line])]
wide, high = max(map(len, lines)), len(lines)
width, height = 20 + wide * 7.25, 22 + high * 17
rows = "\n".join(
    f'<text x="10" y="{24 + row * 17}" xml:space="preserve">{html.escape(line)}</text>' for row, line in enumerate(lines)
)
print(
    f"""<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" height="{height}">
<style>rect {{ fill: #fbfbfc; stroke: #dfe1e5 }} text {{ font: 12px ui-monospace, 'DejaVu Sans Mono', Menlo, monospace; fill: #1d1f23 }}
@media (prefers-color-scheme: dark) {{ rect {{ fill: #16181c; stroke: #33373e }} text {{ fill: #e6e7ea }} }}</style>
<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1}" rx="6"/>
{rows}
</svg>"""
)

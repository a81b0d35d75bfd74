"""The style of a report's page, light and dark."""

from __future__ import annotations

STYLE = """
:root { color-scheme: light dark; --text: #1d2126; --quiet: #555d66; --back: #fff; --sunken: #f3f4f6; --line: #d5d9de;
  --good: #11663a; --good-tint: #e3f4ea; --bad: #a3262c; --bad-tint: #fbe9e9; --accent: #1f5fbf; }
@media (prefers-color-scheme: dark) {
  :root { --text: #e6e9ec; --quiet: #a4adb7; --back: #15181c; --sunken: #1f2429; --line: #363d45; --good: #7fd6a2;
    --good-tint: #16301f; --bad: #ff9c9c; --bad-tint: #3a1c1d; --accent: #86b4ff; } }
body { margin: 0; background: var(--back); color: var(--text); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 1080px; margin: 0 auto; padding: 24px 16px 64px; }
h1 { font-size: 1.4rem; overflow-wrap: anywhere; } h2 { font-size: 1.15rem; margin-top: 2em; } h3 { font-size: 1rem; }
p { overflow-wrap: anywhere; margin: 0.4em 0; }
.verdict { font-size: 1.25rem; font-weight: 600; padding: 12px 16px; border-radius: 8px; background: var(--sunken); }
.verdict.better { color: var(--good); background: var(--good-tint); }
.verdict.worse { color: var(--bad); background: var(--bad-tint); }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { text-align: left; padding: 6px 12px 6px 0; border-bottom: 1px solid var(--line); white-space: nowrap; }
thead th { color: var(--quiet); font-weight: 500; font-size: 0.875rem; }
tbody th { font-weight: 500; }
.confusion td { text-align: right; min-width: 2.5em; }
.confusion .right { background: var(--good-tint); color: var(--good); }
.confusion .wrong { background: var(--bad-tint); color: var(--bad); }
svg { vertical-align: middle; } .zero { stroke: var(--quiet); stroke-dasharray: 2 2; }
.range { stroke: var(--accent); stroke-width: 3; stroke-linecap: round; } circle { fill: var(--accent); }
details { border: 1px solid var(--line); border-radius: 6px; margin: 6px 0; padding: 6px 12px; }
summary { cursor: pointer; overflow-wrap: anywhere; }
dl { margin: 8px 0; } dt { color: var(--quiet); font-size: 0.875rem; margin-top: 8px; } dd { margin: 0; }
dt.expected { color: var(--good); }
pre { margin: 4px 0; padding: 8px; background: var(--sunken); border-radius: 4px; white-space: pre-wrap;
  overflow-wrap: anywhere; font: 0.875rem/1.45 ui-monospace, monospace; }
"""

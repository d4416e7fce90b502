"""Holds the style of the auditor's page: system fonts, light and dark, print; nothing from elsewhere."""

from typing import Final

STYLE: Final = """
:root { color-scheme: light dark; --paper: #fff; --ground: #f4f5f7; --ink: #1b1f27; --soft: #565d6b; --line: #d5d9e0;
  --link: #0b57b0; --good: #146c38; --bad: #a3201d; --code: #eef0f4; --consent: #2f7d4f; --opt-out: #6d6a75; }
@media (prefers-color-scheme: dark) { :root { --paper: #1b1f27; --ground: #12151b; --ink: #e7eaf0; --soft: #a6aebd;
  --line: #363d4a; --link: #8ab8ff; --good: #7fd6a0; --bad: #ff9d98; --code: #272d38;
  --consent: #58b57f; --opt-out: #9a97a5; } }
* { box-sizing: border-box; }
body { margin: 0 auto; max-width: 60rem; padding: 1.5rem 1rem 4rem; background: var(--ground); color: var(--ink);
  font: 1rem/1.55 system-ui, sans-serif; overflow-wrap: anywhere; }
h1 { margin: 0 0 .5rem; font-size: 1.6rem; line-height: 1.25; }
h2 { margin: 0 0 .6rem; font-size: 1.2rem; }
h3 { margin: 1rem 0 .3rem; font-size: 1rem; }
p { margin: .5rem 0; }
section { margin-top: 1rem; padding: 1.1rem 1.25rem; background: var(--paper);
  border: 1px solid var(--line); border-radius: .6rem; }
.verdict { font-weight: 600; font-size: 1.1rem; }
.good { color: var(--good); }
.bad { color: var(--bad); }
ul { margin: .5rem 0; padding-left: 1.2rem; }
.counts { display: flex; flex-wrap: wrap; gap: .6rem; margin: .8rem 0; }
.counts div { flex: 1 1 10rem; padding: .6rem .8rem; background: var(--code); border-radius: .4rem; }
.counts dt { color: var(--soft); font-size: .9rem; }
.counts dd { margin: 0; font-size: 1.4rem; font-weight: 600; }
.scroll { overflow-x: auto; }
svg { display: block; width: 100%; min-width: 34rem; }
svg text { fill: currentcolor; font: 13px system-ui, sans-serif; }
svg line { stroke: var(--line); }
.consent { fill: var(--consent); }
.opt-out { fill: var(--opt-out); }
details { border-top: 1px solid var(--line); }
summary { padding: .45rem 0; cursor: pointer; }
details > :not(summary) { margin-left: 1rem; }
:focus-visible { outline: 3px solid var(--link); outline-offset: 2px; }
code, pre { font-family: ui-monospace, "DejaVu Sans Mono", monospace; font-size: .875rem; }
pre { margin: .4rem 0 .8rem; padding: .8rem; border-radius: .4rem; background: var(--code); white-space: pre-wrap; }
@media print { body { max-width: none; padding: 0; background: none; } section { border: 0; padding: 0; } }
"""

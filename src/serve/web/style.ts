/** How the pages look: one sheet, light and dark, from 320 pixels on; and the icon. */

export const ICON = `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 32 32"><rect width="32" height="32" rx="8" fill="#3f5fbf"/><g fill="none" stroke="#fff" stroke-linejoin="round"><path d="M16 5.8l8.8 5.1v10.2L16 26.2l-8.8-5.1V10.9z" stroke-width="2"/><path d="M7.2 10.9L16 16l8.8-5.1M16 16v10.2" stroke-width="2" opacity=".75"/></g></svg>
`;

const LIGHT = `
--page: #fbfbf9; --card: #ffffff; --text: #1d1f23; --muted: #5b616b; --line: #e5e5e0; --strong-line: #8b9099;
--accent: #3450a8; --accent-soft: #eef1fb; --code: #f5f5f1; --focus: #3450a8;
--good: #1c6b45; --good-soft: #e5f3ea; --bad: #a3302a; --bad-soft: #fbeae8; --dull: #5b616b; --dull-soft: #efefeb;
--note: #7a5600; --note-soft: #fdf5e2; --note-line: #ecd9a8;
--shade-0: #2f4b9d; --shade-1: #3d5db3; --shade-2: #4a6bbd; --shade-3: #3c7a94; --shade-4: #4a7f86; --shade-5: #5a6f9f; --on-shade: #ffffff;
color-scheme: light;`;

const DARK = `
--page: #111317; --card: #181b20; --text: #e8e9ec; --muted: #a3a9b3; --line: #2a2e36; --strong-line: #7b828d;
--accent: #9db7f5; --accent-soft: #1f2739; --code: #14171b; --focus: #9db7f5;
--good: #7fd3a4; --good-soft: #15291f; --bad: #f2a29b; --bad-soft: #331b1a; --dull: #a3a9b3; --dull-soft: #23272e;
--note: #e6c371; --note-soft: #272113; --note-line: #4a3d1c;
--shade-0: #33509f; --shade-1: #3a5aa6; --shade-2: #43629f; --shade-3: #2f6178; --shade-4: #38636a; --shade-5: #46557c; --on-shade: #ffffff;
color-scheme: dark;`;

const BASE = `
*, ::before, ::after { box-sizing: border-box; }
html { font: 100%/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Liberation Sans", sans-serif; -webkit-text-size-adjust: 100%; }
body { margin: 0; min-height: 100vh; display: flex; flex-direction: column; background: var(--page); color: var(--text); }
main { flex: 1; outline: none; }
.wide { max-width: 69rem; margin: 0 auto; padding: 0 1.5rem; }
h1, h2, h3 { text-wrap: balance; line-height: 1.2; letter-spacing: -0.012em; margin: 0; font-weight: 640; }
h1 { font-size: clamp(1.5rem, 1.15rem + 1.6vw, 2.1rem); overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; }
h3 { font-size: 0.95rem; margin: 1.25rem 0 0.5rem; }
p { margin: 0; text-wrap: pretty; }
section { margin-top: 3rem; }
a { color: var(--accent); text-decoration-line: underline; text-decoration-thickness: 1px; text-decoration-color: color-mix(in srgb, currentColor 35%, transparent); text-underline-offset: 0.2em; }
a:hover { text-decoration-color: currentColor; }
:focus-visible { outline: 2px solid var(--focus); outline-offset: 2px; border-radius: 3px; }
code, pre, .mono, .hash, .storepath { font-family: ui-monospace, SFMono-Regular, "SF Mono", Menlo, Consolas, "Liberation Mono", monospace; font-size: 0.875em; }
small { font-size: 0.85em; color: var(--muted); }
b { font-weight: 600; }
.break { overflow-wrap: anywhere; }
bdi, b, code, .name, .tags li, tbody td > span { unicode-bidi: isolate; }
.unseen { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip { position: absolute; left: 1rem; top: -4rem; padding: 0.6rem 1rem; background: var(--card); border: 1px solid var(--line); border-radius: 0 0 8px 8px; z-index: 2; }
.skip:focus { top: 0; }
.lead { color: var(--muted); max-width: 46rem; overflow-wrap: anywhere; margin-top: 0.6rem; }
.figures + .note { margin-top: 0.85rem; }
.note { color: var(--muted); font-size: 0.9rem; margin-top: 0.75rem; }
.count { color: var(--muted); font-weight: 450; font-size: 0.85em; margin-left: 0.25em; font-variant-numeric: tabular-nums; }
.crumbs { font-size: 0.9rem; margin-bottom: 0.6rem; }
.head { display: flex; justify-content: space-between; align-items: baseline; gap: 1rem; }
.head a { font-size: 0.9rem; }
`;

const FRAME = `
.top { border-bottom: 1px solid var(--line); background: var(--card); }
.top .wide { display: flex; flex-wrap: wrap; align-items: center; gap: 0.35rem 1.75rem; padding-top: 0.7rem; padding-bottom: 0.7rem; }
.brand { display: inline-flex; align-items: center; gap: 0.55rem; font-weight: 640; color: var(--text); text-decoration: none; letter-spacing: -0.01em; }
.brand img { display: block; }
.top nav { flex: 1; }
.top ul { display: flex; flex-wrap: wrap; gap: 0.15rem; list-style: none; margin: 0; padding: 0; }
.top li a { display: block; padding: 0.35rem 0.65rem; border-radius: 7px; color: var(--muted); text-decoration: none; font-size: 0.925rem; }
.top li a:hover { color: var(--text); background: var(--dull-soft); }
.top li a[aria-current] { color: var(--accent); background: var(--accent-soft); font-weight: 560; }
.search { display: flex; gap: 0.4rem; flex: 0 1 21rem; }
input[type=search] { flex: 1; min-width: 0; font: inherit; font-size: 0.925rem; padding: 0.42rem 0.7rem; color: var(--text); background: var(--page); border: 1px solid var(--strong-line); border-radius: 8px; }
input::placeholder { color: var(--muted); opacity: 1; }
button { font: inherit; font-size: 0.925rem; padding: 0.42rem 0.85rem; color: var(--text); background: var(--card); border: 1px solid var(--strong-line); border-radius: 8px; cursor: pointer; }
button:hover { background: var(--dull-soft); }
main > .wide { padding-top: 2.75rem; padding-bottom: 4rem; }
footer { border-top: 1px solid var(--line); color: var(--muted); font-size: 0.85rem; }
footer .wide { padding-top: 1.1rem; padding-bottom: 1.4rem; }
footer a { color: inherit; }
`;

const PARTS = `
.hero .kind { color: var(--muted); font-size: 0.9rem; margin-bottom: 0.35rem; }
section.hero { margin-top: 0; }
.state { display: flex; flex-wrap: wrap; gap: 0.25rem 0.6rem; align-items: baseline; margin-top: 0.9rem; color: var(--muted); overflow-wrap: anywhere; }
.badge { display: inline-flex; align-items: center; gap: 0.45em; padding: 0.1em 0.65em 0.1em 0.55em; border-radius: 99px; font-size: 0.85rem; font-weight: 540; white-space: nowrap; }
.badge::before { content: ""; width: 0.5em; height: 0.5em; border-radius: 50%; background: currentColor; }
.badge.good { color: var(--good); background: var(--good-soft); }
.badge.bad { color: var(--bad); background: var(--bad-soft); }
.badge.dull { color: var(--dull); background: var(--dull-soft); }
.figures { display: grid; grid-template-columns: repeat(4, 1fr); margin: 2.25rem 0 0; background: var(--card); border: 1px solid var(--line); border-radius: 12px; }
.figures > div { padding: 1.15rem 1.4rem 1.2rem; border-left: 1px solid var(--line); }
.figures > div:first-child { border-left: 0; }
.figures dt { color: var(--muted); font-size: 0.875rem; }
.figures dd { margin: 0.15rem 0 0; font-size: 1.6rem; font-weight: 600; line-height: 1.25; letter-spacing: -0.02em; font-variant-numeric: tabular-nums; }
.figures small { display: block; font-size: 0.85rem; font-weight: 400; letter-spacing: 0; overflow-wrap: anywhere; }
.pending { color: var(--muted); }
.notice { margin-top: 1.75rem; padding: 0.9rem 1.15rem; border: 1px solid var(--note-line); border-radius: 10px; background: var(--note-soft); max-width: 46rem; overflow-wrap: anywhere; }
.notice strong { color: var(--note); font-weight: 600; }
.notice progress { vertical-align: middle; accent-color: var(--note); width: 10rem; max-width: 45%; }
.empty { margin-top: 1rem; padding: 2.25rem 1.5rem; border: 1px dashed var(--strong-line); border-radius: 12px; text-align: center; color: var(--muted); }
.empty strong { color: var(--text); font-weight: 600; }
.empty p + p { margin-top: 0.35rem; }
.copy { margin-top: 0.9rem; border: 1px solid var(--line); border-radius: 10px; background: var(--card); overflow: hidden; }
.copy summary { padding: 0.6rem 1rem; cursor: pointer; font-size: 0.925rem; font-weight: 540; }
.copy summary:focus-visible { outline-offset: -2px; border-radius: 10px; }
.copy pre { margin: 0; padding: 0.9rem 1rem 1rem; border-top: 1px solid var(--line); background: var(--code); overflow-x: auto; line-height: 1.65; user-select: all; -webkit-user-select: all; tab-size: 2; }
.copy pre:focus-visible { outline-offset: -2px; border-radius: 0 0 10px 10px; }
.storepath { margin-top: 0.55rem; color: var(--muted); overflow-wrap: anywhere; user-select: all; -webkit-user-select: all; }
.actions { display: flex; flex-wrap: wrap; gap: 0.5rem; list-style: none; margin: 1.25rem 0 0; padding: 0; }
.actions a { display: block; padding: 0.38rem 0.9rem; border: 1px solid var(--strong-line); border-radius: 8px; background: var(--card); color: var(--text); text-decoration: none; font-size: 0.925rem; }
.actions a:hover { background: var(--dull-soft); }
.facts { margin: 1.9rem 0 0; border: 1px solid var(--line); border-radius: 12px; background: var(--card); }
.facts > div { display: grid; grid-template-columns: 9rem 1fr; gap: 1rem; padding: 0.62rem 1.25rem; border-top: 1px solid var(--line); }
.facts > div:first-child { border-top: 0; }
.facts dt { color: var(--muted); font-size: 0.925rem; }
.facts dd { margin: 0; min-width: 0; }
.plain { list-style: none; margin: 0; padding: 0; }
.plain li + li { margin-top: 0.3rem; }
.tags { display: flex; flex-wrap: wrap; gap: 0.4rem; list-style: none; margin: 0; padding: 0; }
.tags li { padding: 0.1rem 0.6rem; border: 1px solid var(--line); border-radius: 7px; background: var(--card); font-size: 0.875rem; overflow-wrap: anywhere; }
#kept + p { margin-top: 0.75rem; }
.columns { display: grid; grid-template-columns: 1fr 1fr; gap: 0 3rem; }
.columns > * { min-width: 0; }
.paths { list-style: none; margin: 0.75rem 0 0; padding: 0; }
.paths li { padding: 0.32rem 0; border-top: 1px solid var(--line); }
.paths li:first-child { border-top: 0; }
.path { overflow-wrap: anywhere; }
.hash { color: var(--muted); white-space: nowrap; margin-left: 0.3em; }
a.path { text-decoration: none; }
a.path .name { text-decoration: underline; text-decoration-thickness: 1px; text-decoration-color: color-mix(in srgb, currentColor 35%, transparent); text-underline-offset: 0.2em; }
a.path:hover .name { text-decoration-color: currentColor; }
`;

const TABLES = `
table { width: 100%; border-collapse: collapse; margin-top: 1rem; font-size: 0.95rem; }
thead th { padding: 0 0 0.5rem 1.5rem; color: var(--muted); font-size: 0.85rem; font-weight: 450; text-align: left; white-space: nowrap; }
tbody th, tbody td { padding: 0.58rem 0 0.58rem 1.5rem; border-top: 1px solid var(--line); text-align: left; vertical-align: baseline; font-weight: 400; }
th:first-child { padding-left: 0; }
tbody tr:last-child > * { border-bottom: 1px solid var(--line); }
th.number, td.number { text-align: right; font-variant-numeric: tabular-nums; }
td.number { white-space: nowrap; }
tbody small { margin-left: 0.3em; }
tbody th small { display: block; margin-left: 0; }
.share { display: inline-flex; align-items: center; gap: 0.7em; white-space: nowrap; font-variant-numeric: tabular-nums; }
.bar { width: 7rem; height: 0.4rem; }
.bar .track { fill: var(--line); }
.bar .filled { fill: var(--shade-1); }
.tools { display: flex; flex-wrap: wrap; justify-content: space-between; align-items: baseline; gap: 0.4rem 2rem; margin-bottom: 1.5rem; }
.sorts { display: flex; gap: 0.2rem; align-items: baseline; font-size: 0.9rem; color: var(--muted); }
.sorts span { margin-right: 0.3rem; }
.sorts a { padding: 0.2rem 0.6rem; border-radius: 7px; color: var(--muted); text-decoration: none; }
.sorts a:hover { background: var(--dull-soft); color: var(--text); }
.sorts a[aria-current] { background: var(--accent-soft); color: var(--accent); font-weight: 540; }
.pager { display: flex; flex-wrap: wrap; gap: 0.4rem 1.1rem; align-items: baseline; justify-content: center; margin-top: 1.75rem; font-size: 0.925rem; }
.pager .where { color: var(--muted); font-variant-numeric: tabular-nums; }
.drawing { margin-top: 1rem; }
.treemap { display: block; width: 100%; height: auto; }
.treemap text { fill: var(--on-shade); font-size: 13px; pointer-events: none; }
.treemap .size { opacity: 0.85; font-size: 12px; }
.treemap a { text-decoration: none; }
.treemap a:hover rect { filter: brightness(1.12); }
.treemap .shade-0 { fill: var(--shade-0); } .treemap .shade-1 { fill: var(--shade-1); } .treemap .shade-2 { fill: var(--shade-2); }
.treemap .shade-3 { fill: var(--shade-3); } .treemap .shade-4 { fill: var(--shade-4); } .treemap .shade-5 { fill: var(--shade-5); }
.for-narrow { display: none; }
`;

const NARROW = `
@media (max-width: 60rem) {
.search { flex-basis: 100%; order: 3; }
}
@media (max-width: 44rem) {
.wide { padding: 0 1rem; }
main > .wide { padding-top: 1.75rem; padding-bottom: 3rem; }
section { margin-top: 2.4rem; }
.top nav { flex-basis: 100%; order: 2; }
.top ul { margin: 0 -0.5rem; gap: 0; }
.top li a { padding: 0.35rem 0.5rem; font-size: 0.9rem; }
.search button { display: none; }
.figures { grid-template-columns: 1fr 1fr; margin-top: 1.6rem; }
.figures > div { padding: 0.9rem 1rem; }
.figures > div:nth-child(odd) { border-left: 0; }
.figures > div:nth-child(n+3) { border-top: 1px solid var(--line); }
.figures dd { font-size: 1.35rem; }
.facts > div { grid-template-columns: 1fr; gap: 0.1rem; padding: 0.6rem 1rem; }
.columns { grid-template-columns: 1fr; }
.for-wide { display: none !important; } .for-narrow { display: block !important; }
table, tbody, tbody tr, tbody th, tbody td { display: block; }
thead { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
tbody tr { display: grid; grid-template-columns: 1fr 1fr; gap: 0.55rem 1rem; padding: 0.85rem 1rem 0.95rem; margin-top: 0.65rem; border: 1px solid var(--line); border-radius: 10px; background: var(--card); }
tbody tr > *, tbody tr:last-child > * { padding: 0; border: 0; min-width: 0; overflow-wrap: anywhere; }
tbody th, tbody td.text { grid-column: 1 / -1; }
tbody th.text { font-weight: 540; }
tbody td, tbody td.number { text-align: left; white-space: normal; }
tbody td::before { content: attr(data-label); display: block; color: var(--muted); font-size: 0.8rem; line-height: 1.4; }
tbody td.number small { display: inline-block; margin-left: 0; }
.bar { width: 100%; max-width: 12rem; }
.share { display: flex; }
.tools { margin-bottom: 1rem; }
}
`;

const PREFERENCES = `
@media (prefers-reduced-motion: no-preference) { html { scroll-behavior: smooth; } }
@media print { .top nav, .search, .pager, footer { display: none; } }
`;

export const STYLE = `:root {${LIGHT}\n}\n@media (prefers-color-scheme: dark) { :root {${DARK}\n} }${BASE}${FRAME}${PARTS}${TABLES}${NARROW}${PREFERENCES}`;

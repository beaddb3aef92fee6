"""How the page looks: one column on a phone, light or dark as the reader has it."""

STYLE = """
:root{color-scheme:light dark;--page:#f7f7f5;--card:#fff;--ink:#1d1d1f;--pale:#62625d;--edge:#e3e2dd;
--good:#0a7d33;--watch:#a15c00;--bad:#c0262d;--c0:#2a6fd0;--c1:#e0602a;--c2:#159a6c;--c3:#b98700;--c4:#7a4fc9;
--c5:#d0437d}
@media(prefers-color-scheme:dark){:root{--page:#161617;--card:#202022;--ink:#f0efec;--pale:#a8a7a1;--edge:#37373a;
--good:#4cc474;--watch:#e5a13d;--bad:#ff7b7b;--c0:#5a9bf0;--c1:#f08552;--c2:#3cc090;--c3:#dcb13c;--c4:#a98bef;
--c5:#ee7fac}}
*{box-sizing:border-box}
body{margin:0 auto;padding:1rem;max-width:76rem;background:var(--page);color:var(--ink);
font:16px/1.5 system-ui,sans-serif;overflow-wrap:anywhere}
h1{font-size:1.5rem;line-height:1.25;margin:.5rem 0}
h2{font-size:1.2rem;margin:0 0 .6rem}
h3{font-size:.95rem;margin:0 0 .4rem}
nav{display:flex;flex-wrap:wrap;gap:.2rem 1rem;margin:.8rem 0;font-size:.95rem}
a{color:var(--c0)}
section,.tile{background:var(--card);border:1px solid var(--edge);border-radius:10px}
section{padding:1rem;margin:1rem 0}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(9.5rem,1fr));gap:.7rem;margin:1rem 0}
.tile{padding:.6rem .8rem}
.tile b{display:block;font-size:1.35rem;line-height:1.3}
.tile span,.note,figcaption,.caption{color:var(--pale);font-size:.87rem}
.caption{margin:.9rem 0 .2rem;color:var(--ink);font-weight:600}
.note{margin:.4rem 0 .8rem}
.verdict{font-size:1.05rem;border-left:5px solid var(--pale);padding-left:.8rem;margin:.4rem 0 1rem}
.good{border-color:var(--good)}.watch{border-color:var(--watch)}.bad{border-color:var(--bad)}
.verdict b{display:block}
.good b{color:var(--good)}.watch b{color:var(--watch)}.bad b{color:var(--bad)}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,20rem),1fr));gap:1.2rem 1rem}
figure{margin:0 0 1.2rem;min-width:0}
.charts figure{margin:0;max-width:30rem}
.pictures,.probes{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,33rem),1fr));
gap:0 1.5rem;align-items:start}
.probes>div{min-width:0;margin-bottom:.6rem}
svg{display:block;width:100%;height:auto}
svg text{font:11px system-ui,sans-serif;fill:var(--pale)}
svg .up{text-anchor:end}svg .across{text-anchor:middle}
.grid{stroke:var(--edge);stroke-width:1}
.line{fill:none;stroke-width:1.8;stroke-linejoin:round}
.c0{stroke:var(--c0);--own:var(--c0)}.c1{stroke:var(--c1);--own:var(--c1)}.c2{stroke:var(--c2);--own:var(--c2)}
.c3{stroke:var(--c3);--own:var(--c3)}.c4{stroke:var(--c4);--own:var(--c4)}.c5{stroke:var(--c5);--own:var(--c5)}
circle.line{fill:var(--own)}
.legend{display:flex;flex-wrap:wrap;gap:.1rem 1rem;font-size:.87rem;color:var(--pale)}
.legend b{color:var(--ink);font-variant-numeric:tabular-nums}
.swatch{display:inline-block;width:.8em;height:.8em;border-radius:2px;margin-right:.4em;background:var(--own)}
img,video{display:block;max-width:100%;height:auto;border-radius:6px;background:#fff}
figcaption{margin-top:.35rem}
.whole{grid-column:1/-1}
.wide{overflow-x:auto;background:linear-gradient(to right,var(--card) 40%,transparent),
linear-gradient(to left,var(--card) 40%,transparent) 100% 0,linear-gradient(to right,#7776,transparent),
linear-gradient(to left,#7776,transparent) 100% 0;background-repeat:no-repeat;
background-size:30px 100%,30px 100%,9px 100%,9px 100%;background-attachment:local,local,scroll,scroll}
table{border-collapse:collapse;font-size:.9rem;font-variant-numeric:tabular-nums;overflow-wrap:normal}
th,td{padding:.3rem .8rem;border-bottom:1px solid var(--edge);text-align:right;font-weight:400;
vertical-align:top;white-space:nowrap}
thead th{color:var(--pale)}
th:first-child{text-align:left;padding-left:0}
.words td,.words th,.gauges td:last-child,.gauges th:last-child{text-align:left}
.words td{white-space:normal;overflow-wrap:anywhere;min-width:4.5em}
pre{background:var(--page);border:1px solid var(--edge);border-radius:6px;padding:.7rem;overflow-x:auto;
font-size:.85rem;line-height:1.45;margin:.4rem 0;white-space:pre-wrap}
summary{cursor:pointer;color:var(--c0);margin:.5rem 0}
ul{margin:.3rem 0;padding-left:1.2rem}
@media(max-width:30rem){body{padding:.6rem}section{padding:.8rem}th,td{padding:.3rem .5rem}}
"""

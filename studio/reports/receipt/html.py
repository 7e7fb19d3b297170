"""The receipt as one HTML file: prints on one sheet of A4, fetches nothing, carries the proof."""

from __future__ import annotations

import base64
import html
import io
import json

from studio.reports.receipt import Consent, Receipt

__all__ = ["render_html"]

_STYLE = """
@page { size: A4; margin: 13mm 15mm; }
* { box-sizing: border-box; }
body { margin: 0; background: #efece5; color: #1d1b18; -webkit-print-color-adjust: exact;
  print-color-adjust: exact; font: 13.5px/1.45 system-ui, "Segoe UI", "DejaVu Sans", sans-serif; }
main { position: relative; max-width: 210mm; margin: 24px auto; padding: 15mm 16mm 12mm;
  background: #fff; border-top: 6px solid #1f5f5b; box-shadow: 0 2px 18px #0002; }
header { display: flex; align-items: center; gap: 12px; color: #5b5750; }
header svg { width: 38px; height: 38px; flex: none; }
header b { display: block; color: #1d1b18; font-size: 15px; }
header span.printed { margin-left: auto; text-align: right; font-size: 11.5px; }
h1 { font: 600 27px/1.15 Georgia, "DejaVu Serif", serif; margin: 20px 0 2px; }
p.made { margin: 0; color: #5b5750; }
ul.tags { list-style: none; margin: 10px 0 0; padding: 0; display: flex; gap: 6px;
  flex-wrap: wrap; }
ul.tags li { background: #e3efed; color: #184b48; border-radius: 99px; padding: 2px 11px; }
dl.facts { display: flex; flex-wrap: wrap; gap: 6px 26px; margin: 14px 0 0; padding: 11px 0;
  border: solid #e2ddd3; border-width: 1px 0; }
dl.facts dt, th, h2 { color: #5b5750; font-size: 10.5px; font-weight: 600; line-height: 1.5;
  text-transform: uppercase; letter-spacing: .07em; }
dl.facts dd { margin: 0; font-weight: 600; }
h2 { margin: 17px 0 5px; }
table { width: 100%; border-collapse: collapse; }
th { text-align: left; padding: 0 12px 3px 0; font-weight: 600; }
td { vertical-align: top; padding: 6px 12px 6px 0; border-top: 1px solid #e2ddd3; }
td b { font-size: 14.5px; }
td small { color: #5b5750; display: block; overflow-wrap: anywhere; }
p { margin: 0 0 6px; }
.two { display: grid; grid-template-columns: 1fr 150px; gap: 22px; align-items: start; }
dl.marks { display: grid; grid-template-columns: 11em 1fr; gap: 3px 12px; margin: 0; }
dl.marks dt { color: #5b5750; }
dl.marks dd, code { margin: 0; font: 11.5px/1.55 "DejaVu Sans Mono", ui-monospace, monospace;
  overflow-wrap: anywhere; }
dl.marks dd.seal { font-size: 17px; line-height: 1.25; letter-spacing: .08em; font-weight: 700;
  color: #1f5f5b; }
.qr { text-align: center; font-size: 11px; color: #5b5750; }
.qr svg { width: 150px; height: 150px; display: block; }
ol { margin: 0; padding-left: 19px; }
ol li { margin-bottom: 4px; }
footer { margin-top: 16px; padding-top: 9px; border-top: 1px solid #e2ddd3; color: #5b5750;
  font-size: 11.5px; }
a { color: #1f5f5b; }
@media print { body { background: #fff; } a.proof { display: none; }
  main { margin: 0; padding: 0; box-shadow: none; border: 0; max-width: none; } }
@media (max-width: 640px) { main { margin: 0; padding: 22px 18px; }
  .two { grid-template-columns: 1fr; }
  dl.marks { grid-template-columns: 1fr; } th { display: none; } td { display: block; border: 0; } }
"""

_SEAL = (
    '<svg viewBox="0 0 48 48" aria-hidden="true"><circle cx="24" cy="24" r="22" fill="#1f5f5b"/>'
    '<circle cx="24" cy="24" r="17.5" fill="none" stroke="#e3efed" stroke-width="1.4" '
    'stroke-dasharray="2.2 2.2"/><path d="M12 24h4l2.5-6 4 13 4-18 4 14 2.2-3H36" fill="none" '
    'stroke="#fff" stroke-width="2.6" stroke-linecap="round" stroke-linejoin="round"/></svg>'
)


def render_html(receipt: Receipt) -> bytes:
    """The page, UTF-8."""
    esc = html.escape
    tags = "".join(f"<li>{esc(tag)}</li>" for tag in receipt.tags)
    facts = "".join(f"<div><dt>{esc(k)}</dt><dd>{esc(v)}</dd></div>" for k, v in receipt.facts)
    marks = "".join(
        f"<dt>{esc(name)}</dt><dd{' class=seal' if name == 'Seal' else ''}>{esc(value)}</dd>"
        for name, value in receipt.marks
    )
    steps = "".join(f"<li>{esc(step)}</li>" for step in receipt.steps)
    page = f"""<!doctype html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="robots" content="noindex">
<title>Receipt: {esc(receipt.title)}</title><style>{_STYLE}</style></head>
<body><main>
<header>{_SEAL}<div><b>Receipt of consent and origin</b>Consented Music Studio</div>
<span class="printed">Printed {esc(receipt.printed)}<br>Output {esc(receipt.output_id)}</span>
</header>
<h1>{esc(receipt.title)}</h1>
<p class="made">Generated music (trained algorithmic media), made {esc(receipt.made)}</p>
<ul class="tags">{tags}</ul>
<dl class="facts">{facts}</dl>
<h2>Who consented to these styles</h2>
<table><thead><tr><th>Rights holder</th><th>Granted</th><th>On which terms</th></tr></thead>
<tbody>{"".join(map(_consent, receipt.consents))}</tbody></table>
<h2>What made it, and on what that was trained</h2>
<p><b>{esc(receipt.model)}</b>, licence {esc(receipt.licence)}. {esc(receipt.training_basis)}</p>
<div class="two"><div><h2>By what it is recognised</h2><dl class="marks">{marks}</dl>
{_proof_link(receipt)}</div>
<div class="qr"><h2>Verify</h2>{_qr(receipt.url)}{esc(receipt.url)}</div></div>
<h2>How to verify</h2><ol>{steps}</ol>
<footer>{esc(receipt.caveat)}</footer>
</main></body></html>
"""
    return page.encode()


def _consent(consent: Consent) -> str:
    esc = html.escape
    after = f"; if revoked: {consent.on_revocation}" if consent.on_revocation else ""
    until = consent.until if consent.until == "until revoked" else f"to {consent.until}"
    return (
        f"<tr><td><b>{esc(consent.holder)}</b><small>grant {esc(consent.grant)}</small></td>"
        f"<td>{esc(', '.join(consent.tags))}</td>"
        f"<td>{esc(until)}{esc(after)}<small>{esc(consent.terms)}<br>"
        f"SHA-256 <code>{esc(consent.terms_sha256)}</code></small></td></tr>"
    )


def _proof_link(receipt: Receipt) -> str:
    if receipt.proof is None:
        return ""
    data = base64.b64encode(json.dumps(dict(receipt.proof)).encode()).decode()
    name = f"{html.escape(receipt.output_id)}.proof.json"
    return (
        f'<p><a class="proof" download="{name}" href="data:application/json;base64,{data}">'
        "Save the offline proof</a></p>"
    )


def _qr(url: str) -> str:
    import segno

    drawn = io.BytesIO()
    segno.make(url, error="m", micro=False).save(
        drawn, kind="svg", xmldecl=False, svgns=True, border=1, dark="#1d1b18", omitsize=True
    )
    return drawn.getvalue().decode()

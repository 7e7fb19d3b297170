"""A benchmark report as text and HTML: failures first.

>>> from watermark.evaluation.bench import AttackResult, BenchReport
>>> row = AttackResult("clean", "none", 8, 8, 8, 0, 0, 0.99, 5.0, 100.0, 0.0)
>>> print(as_text(BenchReport((row,), ("a.ogg",), 10.0, 10_008, 24.1)).splitlines()[0])
No attack fails: 9 of 10 clips or more detected and identified, no false alarm.
"""

from __future__ import annotations

import io

from watermark.evaluation.bench import AttackResult, BenchReport
from watermark.util.stats import wilson

__all__ = ["as_html", "as_png", "as_text"]

_COLUMNS = (
    "attack",
    "kind",
    "detected",
    "95 %",
    "identified",
    "95 %",
    "of 1M",
    "wrong",
    "alarms",
    "scores",
    "bits",
    "SI-SNR",
    "LSD",
)
_LEGEND = (
    "detected: sealed clips over the threshold, with Wilson's 95 % interval. identified: "
    "attributed to the right seal. of 1M: likewise, with the bound on chance of a registry of a "
    "million seals. wrong: attributed to another, sealed and unsealed clips together. alarms: "
    "unsealed clips detected after the same attack. scores: highest of the unsealed | lowest of "
    "the sealed clips. bits: share that agrees with the clip's own seal (chance is about 0.6, see "
    "docs). SI-SNR and LSD (log-spectral distance), dB: the attacked against the sealed clip, "
    "where it keeps time."
)


def as_text(report: BenchReport) -> str:
    """A table for a terminal."""
    lines = [_verdict(report)]
    for result in report.failures:
        lines.append(f"  {_failure(result)}")
    lines += ["", *_facts(report), ""]
    rows = [_COLUMNS, *(_row(result) for result in report.results)]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_COLUMNS))]
    for row in rows:
        cells = [
            cell.ljust(width) if column < 2 else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        lines.append("  ".join(cells).rstrip())
    lines += ["", _LEGEND]
    return "\n".join(lines)


def as_html(report: BenchReport) -> str:
    """One self-contained page."""
    from jinja2 import Environment, PackageLoader, StrictUndefined

    templates = Environment(
        loader=PackageLoader("watermark.evaluation"), autoescape=True, undefined=StrictUndefined
    )
    return templates.get_template("bench.html").render(
        verdict=_verdict(report),
        failures=[_failure(result) for result in report.failures],
        facts=_facts(report),
        columns=_COLUMNS,
        rows=[(result, _row(result)) for result in report.results],
        legend=_LEGEND,
    )


def as_png(report: BenchReport) -> bytes:
    """A picture: rates of detection and identification per attack with intervals, worst first."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    rows = report.results[::-1]  # matplotlib counts from below
    figure = Figure(figsize=(9, 1.6 + 0.27 * len(rows)), layout="constrained")
    axes = figure.add_subplot()
    for offset, name, colour, hits in (
        (0.2, "detected", "#8cc9a4", [r.detected for r in rows]),
        (-0.2, "identified", "#9cbfe8", [r.identified for r in rows]),
    ):
        rates = [hit / max(r.clips, 1) for hit, r in zip(hits, rows, strict=True)]
        bounds = [wilson(hit, r.clips) for hit, r in zip(hits, rows, strict=True)]
        axes.barh(
            [place + offset for place in range(len(rows))],
            rates,
            0.38,
            color=colour,
            label=f"{name} (whisker: 95 % interval)",
            xerr=(
                [max(0.0, rate - low) for rate, (low, _) in zip(rates, bounds, strict=True)],
                [max(0.0, high - rate) for rate, (_, high) in zip(rates, bounds, strict=True)],
            ),
            error_kw={"elinewidth": 0.9, "ecolor": "#222", "capsize": 2, "capthick": 0.9},
        )
    alarms = [f"  (false alarms: {r.false_alarms})" if r.false_alarms else "" for r in rows]
    names = [f"{r.attack}{alarm}" for r, alarm in zip(rows, alarms, strict=True)]
    axes.set_yticks(range(len(rows)), names, fontsize=8)
    axes.set_ylim(-0.6, len(rows) - 0.4)
    axes.set_xlim(0, 1.01)  # the cap of a whisker that ends at one stays whole
    axes.set_xlabel(f"share of {len(report.clips)} sealed clips of {report.seconds:g} s")
    axes.set_ylabel("attack (false alarms, if any)")
    axes.grid(axis="x", alpha=0.3)
    axes.set_title("The seal after each attack, worst first", fontsize=11)
    figure.legend(loc="outside lower center", ncols=2, fontsize=8, frameon=False)
    buffer = io.BytesIO()
    FigureCanvasAgg(figure).print_figure(buffer, format="png", dpi=110)
    return buffer.getvalue()


def _verdict(report: BenchReport) -> str:
    count = len(report.failures)
    if count == 0:
        return "No attack fails: 9 of 10 clips or more detected and identified, no false alarm."
    attacks = "1 attack fails" if count == 1 else f"{count} attacks fail"
    return f"{attacks} (fewer than 9 of 10 clips detected or identified, or a false alarm):"


def _failure(result: AttackResult) -> str:
    text = f"{result.attack}: {result.detected} of {result.clips} detected"
    text += f", {result.identified} identified"
    if result.false_alarms:
        text += f", {result.false_alarms} false alarms on unsealed clips"
    if result.misattributed:
        text += f", {result.misattributed} attributed wrongly"
    return text + (f"; {len(result.failed)} failed ({result.failed[0]})" if result.failed else "")


def _facts(report: BenchReport) -> list[str]:
    results = report.results
    detected = sum(r.detected for r in results)
    identified = sum(r.identified for r in results)
    read = sum(r.clips for r in results)
    alarms = sum(r.false_alarms for r in results)
    low, high = wilson(alarms, read)
    facts = [
        f"{len(results)} attacks, {len(report.clips)} clips of {report.seconds:g} s, "
        f"{report.registered:,} seals registered",
        f"seal: SI-SNR {report.seal_si_snr_db:.1f} dB (mean over clips, sealed against original)"
        + (
            ""
            if report.seal_nmr_db is None or report.seal_modulation_db is None
            else f", noise to mask {report.seal_nmr_db:.1f} dB (0 is the threshold of hearing), "
            f"modulation depth {report.seal_modulation_db:.1f} dB (threshold on noise about -25)"
        )
        + (
            ""
            if report.seal_steady_modulation_db is None
            else f", where the music is steady {report.seal_steady_modulation_db:.1f} dB "
            "(threshold on steady tones -26 to -30)"
        ),
        f"over all attacks: {detected} of {read} detected, {identified} identified, "
        f"{sum(r.misattributed for r in results)} attributed wrongly",
        f"false alarms: {alarms} of {read} unsealed readings ({low:.3f} to {high:.3f})",
    ]
    for threat in report.threats:
        level = "" if threat.si_snr_db is None else f" (SI-SNR {threat.si_snr_db:.1f} dB)"
        facts.append(
            f"threat {threat.name}: {threat.question}: {threat.detected} of {threat.clips} "
            f"detected, {threat.identified} named{level}"
        )
    return facts + [f"{name}: {value}" for name, value in report.setting.items()]


def _row(r: AttackResult) -> tuple[str, ...]:
    low, high = wilson(r.detected, r.clips)
    return (
        r.attack,
        r.family,
        f"{r.detected}/{r.clips}",
        f"{low:.2f}-{high:.2f}",
        f"{r.identified}/{r.clips}",
        "{:.2f}-{:.2f}".format(*wilson(r.identified, r.clips)),
        f"{r.identified_million}/{r.clips}",
        str(r.misattributed),
        f"{r.false_alarms}/{r.clips}",
        f"{_number(r.highest_unsealed, '.1f')} | {_number(r.lowest_sealed, '.1f')}",
        _number(r.bit_accuracy, ".3f"),
        _number(r.si_snr_db, ".1f"),
        _number(r.log_spectral_distance_db, ".1f"),
    )


def _number(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)

"""The figures as text, JSON and a picture."""

import json
import math

import measure


def table(result):
    """A line for each row: limit, ftpfs, best peer, ratios, round trips, bytes; then each client's time."""
    names = result["clients"]
    head = ["row", "limit s", "ftpfs s", "x limit", "best peer s", "x peer", "trips wire", "trips told", "conns", "MB in", "MB out"]
    lines = [head]
    for row in result["rows"]:
        ours = measure.median(row["runs"].get("ftpfs", []))
        peer, best = best_peer(row)
        run = measure.middle(row["runs"].get("ftpfs", [])) or {"wire": {}, "told": {}}
        wire = run["wire"]
        lines.append([
            row["key"], number(row["limit"]), number(ours),
            ratio(ours, row["limit"]), f"{best} {peer}", peer_ratio(row, ours),
            str(wire.get("round_trips", "-")), told_trips(run["told"]), str(wire.get("data_connections", "-")),
            mega(wire.get("received_bytes")), mega(wire.get("sent_bytes")),
        ])
    text = [title(result), "", *aligned(lines), ""]
    lines = [["row", *names]]
    for row in result["rows"]:
        lines.append([row["key"], *(time_of(row["runs"].get(name, [])) for name in names)])
    text += ["seconds, medians:", *aligned(lines)]
    for row in result["rows"]:
        for name in names:
            for run in row["runs"].get(name, []):
                if "error" in run:
                    text.append(f"{row['key']}: {name} failed: {run['error'].splitlines()[0][:200]}")
                text += [f"{row['key']}: {name}: {remark}" for remark in run.get("remarks", [])]
    return "\n".join(dict.fromkeys(text[:3])) + "\n" + "\n".join(text[3:]) + "\n"


def title(result):
    return (
        f"{result['server']}, RTT {result['rtt_ms']:g} ms (measured {result['rtt_measured_ms']:.2f}), {result['mbit']:g} Mbit/s, "
        f"{result['connections']} connections; {result['date']}; {', '.join(result['versions'].values())}; "
        f"load {result['load'][0]} to {result['load'][1]}"
    )


def best_peer(row):
    """The quickest client that is not ftpfs, and its time, with `>` where it was given no more."""
    peers = {name: runs for name, runs in row["runs"].items() if name != "ftpfs" and time_of(runs) != "-"}
    if not peers:
        return "", "-"
    name = min(peers, key=lambda name: seconds_of(peers[name]))
    return name, time_of(peers[name])


def peer_ratio(row, ours):
    """Our time to the best peer's; `<` where the peer had not ended."""
    peer, time = best_peer(row)
    if not peer or not ours:
        return "-"
    is_more = time.startswith(">")
    return ("<" if is_more else "") + f"{ours / seconds_of(row['runs'][peer]):.2f}"


def seconds_of(runs):
    """A client's median time, or that which it was given."""
    given = [run["more_than"] for run in runs if "more_than" in run]
    return given[0] if given else measure.median(runs)


def time_of(runs):
    """A client's median time, or how long it was given in vain."""
    given = [run["more_than"] for run in runs if "more_than" in run]
    return f">{given[0]:g}" if given else number(measure.median(runs))


def told_trips(told):
    counted = [value for name, value in told.items() if name.endswith("round_trips")]
    return str(sum(counted)) if counted else "-"


def number(seconds):
    return "-" if seconds is None else f"{seconds:.3f}" if seconds < 1 else f"{seconds:.2f}"


def mega(size):
    return "-" if size is None else f"{size / 1e6:.2f}"


def ratio(ours, other):
    return f"{ours / other:.2f}" if ours and other else "-"


def aligned(lines):
    widths = [max(len(line[column]) for line in lines) for column in range(len(lines[0]))]
    return [
        "  ".join(cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(line, widths)))
        for line in lines
    ]


def markdown(result):
    """The first table, for docs/performance.md."""
    lines = [
        "| work | limit | ftpfs | × limit | best peer | × peer | round trips | data connections | MB in / out |",
        "|---|---|---|---|---|---|---|---|---|",
    ]
    for row in result["rows"]:
        ours = measure.median(row["runs"].get("ftpfs", []))
        peer, best = best_peer(row)
        wire = (measure.middle(row["runs"].get("ftpfs", [])) or {"wire": {}})["wire"]
        lines.append(
            f"| {row['title']} | {number(row['limit'])} | {time_of(row['runs'].get('ftpfs', []))} | {ratio(ours, row['limit'])} | "
            f"{best} {peer} | {peer_ratio(row, ours)} | {wire.get('round_trips', '-')} | "
            f"{wire.get('data_connections', '-')} | {mega(wire.get('received_bytes'))} / {mega(wire.get('sent_bytes'))} |"
        )
    return "\n".join(lines) + "\n"


def save(result, path):
    path.write_text(json.dumps(result, indent=1) + "\n")


# ---- the picture -------------------------------------------------------------------------------------------------------

COLOURS = {"ftpfs": "#1b7f4d", "rclone": "#c05a2b", "lftp": "#7a6fb0", "curl": "#8a8f98", "curlftpfs": "#b0a030"}
LEFT, WIDTH, BAR, GAP, TOP = 250, 560, 11, 14, 64


def picture(result):
    """Bars of time on a logarithmic scale, and a line where each row's limit is."""
    times = [seconds_of(runs) for row in result["rows"] for runs in row["runs"].values()]
    times = [time for time in times if time] + [row["limit"] for row in result["rows"]]
    low = math.floor(math.log10(min(times)))
    high = max(low + 1, math.ceil(math.log10(max(times))))

    def x(seconds):
        return LEFT + WIDTH * (math.log10(seconds) - low) / (high - low)

    body, y = [], TOP
    for row in result["rows"]:
        bars = [(name, row["runs"].get(name, [])) for name in result["clients"]]
        bars = [(name, seconds_of(runs), time_of(runs)) for name, runs in bars if seconds_of(runs)]
        height = BAR * len(bars)
        body.append(text(LEFT - 10, y + height / 2 + 4, row["short"], "end", "#202124"))
        for index, (name, time, words) in enumerate(bars):
            top, width = y + index * BAR, max(1, x(time) - LEFT)
            # What had not ended when its time was over is paler.
            strength = 0.45 if words.startswith(">") else 1
            body.append(
                f'<rect x="{LEFT}" y="{top}" width="{width:.1f}" height="{BAR - 2}" fill="{COLOURS[name]}" opacity="{strength}"/>'
            )
            body.append(text(x(time) + 4, top + BAR - 3, words, "start", "#5f6368", 9))
        at = x(row["limit"])
        body.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{y - 3}" y2="{y + height + 1}" stroke="#d01020" stroke-width="1.5"/>')
        y += height + GAP
    grid = []
    for power in range(low, high + 1):
        at = x(10.0**power)
        grid.append(f'<line x1="{at:.1f}" x2="{at:.1f}" y1="{TOP - 8}" y2="{y}" stroke="#e4e6e9"/>')
        grid.append(text(at, y + 14, f"{10.0**power:g} s", "middle", "#5f6368"))
    legend, at = [], LEFT
    for name in result["clients"]:
        legend.append(f'<rect x="{at}" y="34" width="10" height="10" fill="{COLOURS[name]}"/>' + text(at + 15, 43, name, "start", "#202124"))
        at += 30 + 8 * len(name)
    legend.append(f'<line x1="{at + 4}" x2="{at + 4}" y1="33" y2="45" stroke="#d01020" stroke-width="1.5"/>' + text(at + 12, 43, "limit", "start", "#202124"))
    heading = f"{result['server']}, {result['rtt_ms']:g} ms, {result['mbit']:g} Mbit/s, {result['connections']} connections: seconds (less is better)"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LEFT + WIDTH + 60}" height="{y + 26}" font-family="sans-serif" font-size="12">\n'
        '<rect width="100%" height="100%" fill="white"/>\n' + text(LEFT, 20, heading, "start", "#202124", 13) + "\n"
        + "\n".join(legend + grid + body) + "\n</svg>\n"
    )


def text(x, y, words, anchor, colour, size=12):
    words = words.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" fill="{colour}" font-size="{size}">{words}</text>'

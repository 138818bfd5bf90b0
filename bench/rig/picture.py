"""The chart: response time by number of posts. Both axes are logarithmic."""

import math
import statistics
from html import escape

WIDTH, HEIGHT = 860, 470
LEFT, RIGHT, TOP, BOTTOM = 64, 190, 48, 52
# Distinguishable by hue and lightness, on white and on black.
LINES = {
    "feed": ("anonymous feed", "#1f77b4"), "feed-pages": ("its further pages", "#4aa3df"), "feed-in": ("logged-in feed", "#17a398"),
    "post-pages": ("post page", "#2e9e44"), "vote": ("vote", "#d1495b"), "search-common": ("search, common word", "#8e5bd0"),
    "search-middling": ("search, middling word", "#b07fe0"), "search-rare": ("search, rare word", "#c98a1b"),
    "search-absent": ("search, absent word", "#e07b39"),
}
STYLE = """
text { font: 13px system-ui, sans-serif; fill: #222 }
.title { font-size: 15px; font-weight: 600 } .small { font-size: 11px; fill: #666 }
.ground { fill: #fff } .grid { stroke: #ddd } .axis { stroke: #888 }
@media (prefers-color-scheme: dark) {
  text { fill: #e6e6e6 } .small { fill: #aaa } .ground { fill: #14161a } .grid { stroke: #333 } .axis { stroke: #777 }
}
"""


def draw(growth, commit):
    points = {}
    for row in growth:
        if row["name"] in LINES:
            points.setdefault(row["name"], []).append((row["posts"], statistics.median(each["p50"] for each in row["rounds"])))
    sizes = sorted({posts for line in points.values() for posts, _ in line})
    times = [ms for line in points.values() for _, ms in line]
    low, high = math.floor(math.log10(min(times))), math.ceil(math.log10(max(times)) + 1e-9)
    first, last = math.log10(sizes[0]), math.log10(sizes[-1])

    def x(posts):
        return LEFT + (WIDTH - LEFT - RIGHT) * (math.log10(posts) - first) / ((last - first) or 1)

    def y(ms):
        return HEIGHT - BOTTOM - (HEIGHT - TOP - BOTTOM) * (math.log10(ms) - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" aria-labelledby="title">',
        '<title id="title">Response time by number of posts</title>', f"<style>{STYLE}</style>",
        f'<rect class="ground" width="{WIDTH}" height="{HEIGHT}"/>',
        f'<text class="title" x="{LEFT}" y="26">Response time by number of posts</text>',
        f'<text class="small" x="{WIDTH - 10}" y="{HEIGHT - 8}" text-anchor="end">p50 at one connection, commit {escape(commit)}</text>',
    ]
    for power in range(low, high + 1):
        for digit in (1, 2, 5):
            ms = digit * 10 ** power
            if ms > 10 ** high * 1.001:
                continue
            parts.append(f'<line class="grid" x1="{LEFT}" x2="{WIDTH - RIGHT}" y1="{y(ms):.1f}" y2="{y(ms):.1f}"/>')
            parts.append(f'<text class="small" x="{LEFT - 8}" y="{y(ms) + 4:.1f}" text-anchor="end">{ms:g} ms</text>')
    for posts in sizes:
        parts.append(f'<line class="axis" x1="{x(posts):.1f}" x2="{x(posts):.1f}" y1="{TOP}" y2="{HEIGHT - BOTTOM}" stroke-dasharray="2 4"/>')
        words = f"{posts / 1e6:g} million" if posts >= 1e6 else f"{posts // 1000} thousand"
        parts.append(f'<text x="{x(posts):.1f}" y="{HEIGHT - BOTTOM + 20}" text-anchor="middle">{words}</text>')
    # Each line is labelled at its end; labels that would overlap are moved apart.
    ends = sorted(((y(line[-1][1]), name) for name, line in ((n, sorted(l)) for n, l in points.items())))
    place = TOP - 20
    for at, name in ends:
        words, colour = LINES[name]
        line = sorted(points[name])
        path = " ".join(f"{x(posts):.1f},{y(ms):.1f}" for posts, ms in line)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" stroke-width="2.5" stroke-linejoin="round"/>')
        parts += [f'<circle cx="{x(posts):.1f}" cy="{y(ms):.1f}" r="3.5" fill="{colour}"><title>{escape(words)}, {posts:,} posts: {ms:.2f} ms</title></circle>'
                  for posts, ms in line]
        place = max(at + 4, place + 16)
        end = x(line[-1][0])
        parts.append(f'<line x1="{end + 5:.1f}" y1="{at:.1f}" x2="{end + 16:.1f}" y2="{place - 4:.1f}" stroke="{colour}"/>')
        parts.append(f'<text x="{end + 20:.1f}" y="{place:.1f}">{escape(words)}</text>')
    parts.append("</svg>\n")
    return "\n".join(parts)

"""The section of segments: every figure with its interval, nothing of the steps that only search, no place unproven."""

from __future__ import annotations

import math
import re
from decimal import ROUND_CEILING, ROUND_FLOOR, ROUND_HALF_UP, Decimal
from functools import cache
from html import unescape

import numpy as np
import pytest
from matplotlib.colors import to_hex

from coordinator.console import charts, feature_words, places, report, segment_charts
from protocols import accuracy, release
from protocols.budget import MICRO, decimal
from protocols.encoding import canonical
from protocols.errors import IntegrityError, UsageError
from protocols.plan import Plan
from protocols.questions.segments.plan import SCALE
from protocols.questions.segments.states import Clusters, FineGrid, Grid, Spread
from protocols.verdict import Findings

RECENCY = {"name": "recency_days", "transform": "log1p", "low": 0, "high": 365}
SPEND = {"name": "spend_cents", "transform": "log1p", "low": 100, "high": 1_000_000}
PROMO = {"name": "promo_share_ppm", "transform": "identity", "low": 0, "high": 1_000_000}
RHO = {"moments": 10**6, "covariance": 2 * 10**6, "coarse": 10**6, "fine": 10**6, "over": 10**6, "lloyd": 3 * 10**6}
PEOPLE = [3000, 1200, 800]
MEANS = [[-0.5, 0.6, 0.2], [0.4, -0.3, 0.7], [0.1, 0.2, -0.8]]
SEARCHES = ["seg-moments", "seg-covariance", "seg-coarse", "seg-fine", "seg-over", "seg-lloyd-1", "seg-lloyd-2"]
AXES = np.array([[-0.8, 0.6, 0.0], [0.0, 0.0, 1.0], [0.6, 0.8, 0.0]])
MEAN = np.array([0.1, 0.0, -0.1])


def make_plan(features=(RECENCY, SPEND, PROMO), clusters=3):
    rho = {**RHO, "profile": 12 * 10**6}
    if len(features) < 3:
        del rho["covariance"]
    columns = {"customer": {"type": "id"}, "dept": {"type": "category", "values": ["fresh-fish", "other"]},
               "mails": {"type": "count", "high": 9}}  # fmt: skip
    question = {"kind": "segments", "rho": rho, "features": list(features), "clusters": clusters, "lloyd_rounds": 2,
                "coarse_cells": 64, "fine_cells": 64}  # fmt: skip
    document = {
        "type": "plan@v1", "room": "shop-room", "name": "households", "purpose": "know the shared segments",
        "parties": ["baker", "grocer"], "recipients": ["baker", "grocer"], "valid_until": "2031-12-31",
        "delta": "0.000001", "rho": 10**9, "blocks": {"q1": {"first": "2017-01-01", "last": "2017-03-31"}},
        "features": {"as_of": "2017-07-01", "discount_depth_percent": 15},
        "table": {"name": "sales", "columns": columns},
        "collusion": 1, "quorum": 2, "deadline_s": 60, "answer_after_s": 1, "people_cap": 50000,
        "questions": [question],
    }  # fmt: skip
    return Plan.from_bytes(canonical(document))


def states(plan, axes, mean):
    question = plan.questions[0]
    k, d, p = question.clusters, question.dimensions, len(axes)
    ones = np.ones(p)
    grid = Grid(mean, axes, -ones, ones, np.full(p, 2, np.int64), ones / 2, 0.1, 5000)
    one = np.ones(1, np.int64)
    spread, fine = Spread(mean, 1.0, 5000, np.full(d, 0.2)), FineGrid(grid, one, np.ones((1, p), np.int64), 9 * one)
    centres = Clusters(np.zeros((k, d)), 1.0, np.ones(k), np.zeros(k)).write()
    found = dict.fromkeys(SEARCHES, centres) | {"seg-moments": (spread if d > 2 else grid).write()}
    return found | {"seg-covariance": grid.write(), "seg-coarse": fine.write(), "seg-profile": None}


def sums(people, means):
    """The slots of seg-profile without noise, for segments of so many people with these means in the box."""
    weight = math.sqrt(0.7 / len(means[0])) * SCALE
    blocks = [
        [*(weight * n * x for x in row), math.sqrt(0.3) * SCALE * n] for n, row in zip(people, means, strict=True)
    ]
    return [round(x) for block in blocks for x in block] + [0]


def make_bodies(plan, people=PEOPLE, means=MEANS, axes=AXES, mean=MEAN):
    earlier, found, known = {}, [], states(plan, axes, mean)
    for step, _ in plan.steps():
        noised = sums(people, means) if step.name == "seg-profile" else [0] * len(step.statistic.slots)
        body = release.compose(
            plan, round_id="0a" * 16, step=step.name, nonce="1b" * 16, noised=np.asarray(noised, np.int64),
            survivors=list(plan.parties), earlier=dict(earlier), salt=bytes(32), state=known[step.name],
        )  # fmt: skip
        earlier[step.name] = body.released
        found.append(body)
    return found


def make_page(plan, bodies):
    return report.page(plan, bodies, Findings("shop-room", 12, "ef" * 32, (), (), 8, 30, 0), made_at="2017-07-02")


def made(**sums_of):
    plan = make_plan()
    bodies = make_bodies(plan, **sums_of)
    return plan, bodies, make_page(plan, bodies)


@cache
def plain():
    return made()


def section(html):
    (found,) = re.findall(r"<section>\s*<h2>Segments</h2>.*?</section>", html, re.DOTALL)
    return found


def table(html):
    """The cells of the section's tables, as (row's name, column's name) → the lines of the cell."""
    found = {}
    for text in re.findall(r"<table.*?</table>", section(html), re.DOTALL):
        for line in re.findall(r"<tr>(.*?)</tr>", text, re.DOTALL)[1:]:
            name = unescape(re.search(r"<th[^>]*>(.*?)</th>", line).group(1))
            for column, cell in re.findall(r'<td [^>]*data-label="([^"]*)">(.*?)</td>', line):
                lines = [unescape(re.sub(r"<[^>]*>", "", part)) for part in cell.split("<br>")]
                assert (name, column) not in found
                found[name, column] = lines if cell else []
    return found


def drawings(html):
    """The words of each drawing of the section: map, sizes and heat map, wide and narrow of each."""
    pictures = re.findall(r"<svg viewBox.*?</svg>", section(html), re.DOTALL)
    return [[unescape(word) for word in re.findall(r"<text[^>]*>([^<]*)</text>", picture)] for picture in pictures]


def shown(figure, factor="1", places_=0, unit=""):
    """What a reader must find, written here a second time from the release: the estimate, and its interval."""
    if figure["value"] == "too noisy":
        return ["too noisy"]
    ways = {"value": ROUND_HALF_UP, "low": ROUND_FLOOR, "high": ROUND_CEILING}
    step = Decimal(1).scaleb(-places_)
    texts = {n: (Decimal(figure[n]) * Decimal(factor)).quantize(step, rounding=way) for n, way in ways.items()}
    value, low, high = (f"{text:,f}{unit}".replace("-", "\u2212") for text in texts.values())
    return [value, f"{low} to {high}"]


def test_every_figure_of_the_profile_is_in_the_table_with_its_interval_in_a_unit_that_people_use():
    _, bodies, html = plain()
    answer, cells = bodies[-1].answer, table(html)
    units = {
        "recency_days": ("Days since the last purchase", "1", 1, ""),
        "spend_cents": ("Spend, in units of currency", "0.01", None, ""),
        "promo_share_ppm": ("Share of spend on discounted items", "0.0001", 1, " %"),
    }
    columns = {"Everybody": answer["all"] | {"index": {}}}
    columns |= {f"Segment {i}": answer["segments"][f"s{i}"] for i in (1, 2, 3)}
    for column, found in columns.items():
        assert cells.pop(("Customers", column)) == shown(found["size"])
        share = shown(found["share"], "100", 1, " %") if "share" in found else []
        assert cells.pop(("Share of all", column)) == share
        for feature, (name, factor, places_, unit) in units.items():
            if places_ is None:
                places_ = 0 if Decimal(found["typical"][feature]["high"]) >= 100_000 else 2
            index = ["index " + ", ".join(shown(found["index"][feature]))] if found["index"] else []
            assert cells.pop((name, column)) == [*shown(found["typical"][feature], factor, places_, unit), *index]
    assert not cells


def test_steps_that_only_search_show_no_table_and_are_named_with_the_cost_and_the_digests():
    plan, bodies, html = plain()
    body, footer = html.split("<footer>")
    titles = ["Segments", "Segments in words", "Privacy budget", "How to read this"]
    assert re.findall(r"<h2>(.*?)</h2>", html) == titles
    assert [b.step for b in bodies if not b.answer] == SEARCHES
    for search in bodies[:-1]:
        assert search.step not in body
        remark = "finding the segments, no numbers of its own"
        assert f"<dt>Release {search.step}</dt><dd><code>{search.digest}</code> {remark}</dd>" in footer
    assert f"<dt>Release seg-profile</dt><dd><code>{bodies[-1].digest}</code></dd>" in footer
    cost = sum(mechanism.charge for step, mechanism in plan.steps() if step.name != "seg-profile")
    cells = re.search(r"Finding the segments</th>(.*?)</tr>", body).group(1)
    assert re.findall(r">([0-9.]+)<", cells) == [decimal(cost), decimal(2 * cost)]
    assert body.count("Finding the segments") == 1
    assert "<h2>Segments" not in make_page(plan, bodies[:-1])  # a round that ended before the profile


def test_the_page_needs_nothing_from_outside_is_the_same_each_time_and_shares_no_id():
    plan, bodies, html = plain()
    for forbidden in ("http", "//", "<script", "src=", "xmlns"):
        assert forbidden not in html.lower()
    assert make_page(plan, bodies) == html
    ids = re.findall(r' id="([^"]*)"', html)
    assert len(ids) == len(set(ids))


def test_the_letters_of_drawings_are_set_in_the_font_of_the_page():
    texts = re.findall(r"<text style=\"([^\"]*)", section(plain()[2]))
    assert len(texts) > 50
    assert all("var(--sans)" in style for style in texts)


def test_the_map_writes_each_segment_with_its_size_and_margin_and_draws_one_disc_for_each():
    _, bodies, html = plain()
    wide, narrow = drawings(html)[:2]
    for words in (wide, narrow):
        for number in (1, 2, 3):
            size = bodies[-1].answer["segments"][f"s{number}"]["size"]
            half = math.ceil((int(size["high"]) - int(size["low"])) / 2)
            assert words[words.index(f"Segment {number}") + 1] == f"{int(size['value']):,} ± {half}"
        assert words.count("everybody") == 1
    picture = re.search(r"<svg viewBox.*?</svg>", section(html), re.DOTALL).group(0)
    assert len(re.findall(rf"fill: {charts.BAR}", picture)) == 3


def test_the_sides_of_the_map_say_in_words_what_grows_and_what_falls():
    for words in drawings(plain()[2])[:2]:
        assert "→ more: days since the last purchase; less: spend" in words
        assert "↑ more: share of spend on discounted items" in words


def test_sizes_are_bars_with_margin_share_and_the_interval_of_the_share():
    _, bodies, html = plain()
    wide, narrow = drawings(html)[2:4]
    for number in (1, 2, 3):
        segment = bodies[-1].answer["segments"][f"s{number}"]
        share = ": ".join(shown(segment["share"], "100", 1, " %")).replace(":", " of all:")
        assert [word for word in wide if word.startswith(shown(segment["size"])[0]) and word.endswith(f"\u2003{share}")]
        assert f"Segment {number}\u2003{share}" in narrow


def test_the_heat_map_writes_every_index_with_its_interval():
    _, bodies, html = plain()
    for words in drawings(html)[4:]:
        for number in (1, 2, 3):
            for figure in bodies[-1].answer["segments"][f"s{number}"]["index"].values():
                value, interval = shown(figure)
                assert words[words.index(interval) - 1] == value


def test_the_heat_map_is_pale_at_100_and_strongest_at_four_times_and_a_quarter():
    tiles = [charts.Reading(*map(Decimal, (v, v - 1, v + 1))) for v in (-5, 25, 50, 100, 200, 400, 999)]
    drawing = segment_charts.index_heat(["spend"], list("abcdefg"), [tiles], title="", label="one row", caption="")
    low, less, middle, more, high = (to_hex(colour) for colour in segment_charts.DIVERGING)
    assert re.findall(r"fill: (#[0-9a-f]{6})\"/>", drawing.wide) == [low, low, less, middle, more, high, high]
    bold = re.findall(r"(?:bold|700)[ ;][^>]*>(\S+)</text>", drawing.wide)
    assert [word for word in bold if not word.isalpha()] == ["\u22125", "25", "50", "200", "400", "999"]


def test_a_profile_that_is_wholly_too_noisy_shows_no_number_and_no_map():
    html = made(people=[3, 2, 1])[-1]
    assert {cell for lines in table(html).values() for cell in lines} == {"too noisy", "index too noisy"}
    assert "Where the segments lie" not in html
    wide_bars, narrow_bars, wide_heat, narrow_heat = drawings(html)
    for words in (wide_bars, narrow_bars, wide_heat, narrow_heat):
        assert not [word for word in words if any(c.isdigit() for c in word) and not word.startswith("Segment ")]
    assert wide_bars.count("too noisy") == narrow_bars.count("too noisy") == 3
    assert wide_heat.count("too noisy") == narrow_heat.count("noisy") == 9


def test_a_segment_that_is_too_noisy_is_not_on_the_map_and_is_said_not_to_be():
    _, bodies, html = made(people=[3000, 60, 800])
    assert bodies[-1].answer["segments"]["s2"]["size"] == {"value": "too noisy"}
    assert "Too noisy to be placed: Segment 2." in html
    for words in drawings(html)[:2]:
        assert "Segment 2" not in words
        assert "Segment 3" in words
    assert table(html)["Customers", "Segment 2"] == ["too noisy"]


def test_twelve_segments_stand_in_several_tables_and_panels_each_of_them_once():
    rng = np.random.default_rng(4)
    plan = make_plan(clusters=12)
    bodies = make_bodies(plan, people=[900 + 50 * i for i in range(12)], means=rng.uniform(-0.8, 0.8, (12, 3)).tolist())
    html = make_page(plan, bodies)
    cells = table(html)  # which refuses a cell that is there twice
    assert {column for _, column in cells} == {"Everybody", *(f"Segment {i}" for i in range(1, 13))}
    assert "Sizes and typical values: Segment 7 to Segment 12" in html
    for words in drawings(html)[4:]:
        assert all(words.count(f"Segment {i}") == 1 for i in range(1, 13))
    assert {str(i) for i in range(1, 13)} <= set(drawings(html)[1])


@pytest.mark.parametrize("features", [(RECENCY,), (RECENCY, SPEND)])
def test_one_feature_makes_a_map_of_one_line_and_two_a_map_of_both(features):
    d = len(features)
    plan = make_plan(features)
    bodies = make_bodies(plan, means=[row[:d] for row in MEANS], axes=np.eye(d)[::-1], mean=MEAN[:d])
    html = make_page(plan, bodies)
    wide, narrow = drawings(html)[:2]
    assert [word[0] for word in wide if word[0] in "→↑"] == ["→", "↑"][:d]
    assert ("The ellipse around it" in html, "The line around it" in html) == (d == 2, d == 1)
    assert "Segment 3" in narrow


def test_places_are_the_means_along_the_released_axes_each_inside_its_region():
    plan, bodies, _ = plain()
    grid = Grid.read(bodies[1].state, 3, 64)
    *found, everybody = places.places(plan.questions[0], bodies[-1], grid)
    along = grid.project(np.array(MEANS))[:, :2] * [-1, 1]  # the first axis is turned: its largest part is negative
    for place, wanted in zip(found, along, strict=True):
        assert place.at == pytest.approx(tuple(wanted), abs=1e-4)
        assert math.dist(place.at, place.middle) < min(place.radii)
        assert 0.001 < min(place.radii) < 0.2
    whole = np.average(MEANS, axis=0, weights=PEOPLE)[None, :]
    assert everybody.at == pytest.approx(tuple(grid.project(whole)[0, :2] * [-1, 1]), abs=1e-4)
    assert min(everybody.radii) == pytest.approx(min(found[0].radii) * 3**0.5 * 3000 / 5000, rel=0.01)


def test_the_map_draws_discs_by_area_and_ellipses_to_scale_and_turned_as_they_are():
    sizes = [charts.Reading(*map(Decimal, (n, n - 9, n + 9))) for n in (900, 400)]
    spots = [
        places.Place((0.0, 0.0), (0.0, 0.0), (2.0, 1.0), 30.0),
        places.Place((9.0, 3.0), (9.0, 3.0), (0.5, 0.2), 0.0),
    ]
    marks = [
        segment_charts.Mark(f"Segment {i}", size, spot) for i, (size, spot) in enumerate(zip(sizes, spots, strict=True))
    ]
    drawing = segment_charts.segment_map(marks, ["right", "up"], title="", label="two", caption="")
    for svg in (drawing.wide, drawing.narrow):
        big, small = (np.ptp(curve[:, 0]) for curve in curves(svg, f"fill: {charts.BAR}"))
        assert (big / small) ** 2 == pytest.approx(900 / 400, rel=1e-4)
        dots = [curve.mean(axis=0) for curve in curves(svg, f"fill: {charts.WHISKER}")]
        scale = np.linalg.norm(dots[1] - dots[0]) / math.hypot(9, 3)
        x, y = ((curves(svg, f"fill: none; stroke: {charts.WHISKER}")[0] - dots[0]) / scale * [1, -1]).T
        along, across = x * 3**0.5 / 2 + y / 2, -x / 2 + y * 3**0.5 / 2
        assert (along / 2) ** 2 + across**2 == pytest.approx(np.ones(len(x)), abs=1e-3)


def curves(svg, style):
    """The corners (n, 2) of each closed curve that is painted so."""
    paths = re.findall(r'<path d="([^"]*C[^"]*)"[^>]*style="([^"]*)"', svg)
    ends = [re.findall(r"([-0-9.]+) ([-0-9.]+) *\n", path + "\n")[:-1] for path, painted in paths if style in painted]
    return [np.array(found, np.float64) for found in ends]


def test_on_one_axis_the_region_is_fiellers_interval_of_the_mean():
    plan = make_plan((RECENCY,))
    bodies = make_bodies(plan, means=[[-0.5], [0.4], [0.1]], axes=np.eye(1), mean=np.zeros(1))
    place = places.places(plan.questions[0], bodies[-1], Grid.read(bodies[0].state, 1, 64))[1]
    variance = 2 * bodies[-1].mechanism.variance_micro / MICRO
    weight, unit = math.sqrt(0.7) * SCALE, math.sqrt(0.3) * SCALE
    interval = accuracy.fieller(0.4 * 1200, 1200, variance / weight**2, variance / unit**2, 0.0)
    ends = [place.middle[0] - place.radii[0], place.middle[0] + place.radii[0]]
    assert ends == pytest.approx([interval.low, interval.high], abs=1e-4)
    assert place.radii[1] == 0


@pytest.mark.parametrize(("a", "b"), [((30.0, -12.0), 50.0), ((0.0, 0.0), 40.0), ((-8.0, 3.0), 18.0)])
def test_the_edge_of_the_ellipse_is_where_the_weighted_square_is_the_quantile(a, b):
    var_a, var_b = 3.0, 5.0
    middle, radii, angle = places.ratio_ellipse(a, b, var_a, var_b)
    turn = math.radians(angle)
    for t in np.linspace(0, 6, 9):
        s, w = radii[0] * math.cos(t), radii[1] * math.sin(t)
        along, across = np.array([math.cos(turn), math.sin(turn)]), np.array([-math.sin(turn), math.cos(turn)])
        p = np.array(middle) + s * along + w * across
        off = np.array(a) - p * b
        square = off @ np.linalg.solve(var_a * np.eye(2) + var_b * np.outer(p, p), off)
        assert square == pytest.approx(-2 * math.log(0.05), rel=1e-9)
    assert places.ratio_ellipse(a, 5.0, var_a, 5.0) is None


def test_the_ellipse_holds_the_true_place_95_times_in_100_even_where_the_count_is_barely_steady():
    rng = np.random.default_rng(11)
    truth, count, draws, hits = np.array([0.5, -0.7]), 6.0, 8000, 0
    for noise in rng.standard_normal((draws, 3)):
        a, b = truth * count + noise[:2] * 0.8, count + noise[2]
        found = places.ratio_ellipse((a[0], a[1]), b, 0.64, 1.0)
        if found is None:
            hits += 1  # an unbounded region holds it
            continue
        middle, radii, angle = found
        turn, off = math.radians(angle), truth - middle
        s, w = off[0] * math.cos(turn) + off[1] * math.sin(turn), -off[0] * math.sin(turn) + off[1] * math.cos(turn)
        hits += (s / radii[0]) ** 2 + (w / radii[1]) ** 2 <= 1
    assert abs(hits / draws - 0.95) < 0.01


def test_names_of_features_that_are_not_plain_words_are_refused_by_the_plan():
    for name in ("<script>", "a b", 'x"y', "é", "$x$", ""):
        with pytest.raises(UsageError):
            make_plan(({**RECENCY, "name": name}, SPEND, PROMO))


@pytest.mark.parametrize(
    ("feature", "words"),
    [
        ("share_fresh-fish_ppm", "share of spend on fresh-fish (dept)"),
        ("sum_mails", "sum of mails"),
        ("some_thing_days", "some thing, in days"),
        ("rate_ppm", "rate, in per cent"),
        ("visits", "visits"),
    ],
)
def test_features_of_the_table_and_unknown_ones_are_named_in_words_too(feature, words):
    assert feature_words.name_in_words(make_plan(), feature) == words


def test_what_is_missing_or_of_another_shape_is_refused():
    plan, bodies, _ = plain()
    profile = bodies[-1]
    with pytest.raises(IntegrityError, match="no axes of seg-covariance"):
        make_page(plan, [b for b in bodies if b.step != "seg-covariance"])
    with pytest.raises(IntegrityError, match="fewer sums"):
        make_page(plan, [*bodies[:-1], profile.model_copy(update={"noised": profile.noised[:5]})])
    with pytest.raises(IntegrityError, match="not the shape of its question"):
        make_page(plan, [*bodies[:-1], profile.model_copy(update={"answer": {"all": profile.answer["all"]}})])

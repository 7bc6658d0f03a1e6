"""Charts of every kind arrive as the SDK's chart classes, with a picture."""

import base64

from common import call, eq, run, sdk

CODE = """
import matplotlib.pyplot as plt

plt.figure()
plt.plot([0, 1, 2, 3], [0.0, 1.5, 4.0, 9.5], label="growth")
plt.title("Line"); plt.xlabel("time (s)"); plt.ylabel("size (m)")
plt.show()

plt.figure()
plt.scatter([1, 2, 3], [4, 5, 6], label="dots")
plt.title("Scatter"); plt.xlabel("a"); plt.ylabel("b")
plt.show()

plt.figure()
plt.bar(["A", "B", "C"], [10, 20.5, 30], label="group one")
plt.title("Bar"); plt.xlabel("kind"); plt.ylabel("count")
plt.show()

plt.figure()
plt.pie([25, 75], labels=["quarter", "rest"])
plt.title("Pie")
plt.show()

plt.figure()
plt.boxplot([[1, 2, 3, 4, 5, 40], [2, 4, 6, 8, 10]], patch_artist=True)
plt.title("Box"); plt.xlabel("x"); plt.ylabel("y")
plt.show()

fig, axes = plt.subplots(1, 2)
axes[0].plot([1, 2], [3, 4]); axes[0].set_title("left")
axes[1].bar(["u", "v"], [1, 2]); axes[1].set_title("right")
fig.suptitle("Both")
plt.show()
print("done")
"""


def check_png(chart):
    assert base64.b64decode(chart.png).startswith(b"\x89PNG\r\n\x1a\n"), "not a PNG"


async def scenario(d):
    sb = await call(d.create())
    r = await call(sb.process.code_run(CODE))
    eq((r.exit_code, r.result.strip()), (0, "done"), "output without the artifacts")
    charts = r.artifacts.charts
    eq([c.type for c in charts], ["line", "scatter", "bar", "pie", "box_and_whisker", "composite_chart"], "types")
    for chart in charts:
        check_png(chart)
    line, scatter, bar, pie, box, both = charts

    assert isinstance(line, sdk.LineChart), type(line)
    eq((line.title, line.x_label, line.y_label), ("Line", "time (s)", "size (m)"), "line")
    eq((line.x_scale, line.y_scale), ("linear", "linear"), "scales")
    assert line.x_ticks and line.x_tick_labels and line.y_ticks and line.y_tick_labels
    eq(line.elements[0].label, "growth", "line label")
    eq([tuple(p) for p in line.elements[0].points], [(0, 0), (1, 1.5), (2, 4), (3, 9.5)], "points")

    assert isinstance(scatter, sdk.ScatterChart), type(scatter)
    eq([tuple(p) for p in scatter.elements[0].points], [(1, 4), (2, 5), (3, 6)], "points")

    assert isinstance(bar, sdk.BarChart), type(bar)
    eq([e.label for e in bar.elements], ["A", "B", "C"], "bar labels")
    eq([float(e.value) for e in bar.elements], [10, 20.5, 30], "bar values")
    eq({e.group for e in bar.elements}, {"group one"}, "bar group")

    assert isinstance(pie, sdk.PieChart), type(pie)
    eq([e.label for e in pie.elements], ["quarter", "rest"], "pie labels")
    eq([round(e.angle) for e in pie.elements], [90, 270], "pie angles")
    eq([e.radius for e in pie.elements], [1, 1], "pie radius")

    assert isinstance(box, sdk.BoxAndWhiskerChart), type(box)
    e = box.elements[0]
    eq((e.min, e.first_quartile, e.median, e.third_quartile, e.max), (1, 2.25, 3.5, 4.75, 5), "box")
    eq(list(e.outliers), [40], "outliers")

    assert isinstance(both, sdk.CompositeChart), type(both)
    eq(both.title, "Both", "title of the composite")
    eq([(c.type, c.title) for c in both.elements], [("line", "left"), ("bar", "right")], "sub-charts")

    r = await call(sb.process.code_run("print('no charts here')"))
    eq(r.artifacts.charts or [], [], "charts of a program without any")

    r = await call(sb.process.code_run("import matplotlib.pyplot as plt\nplt.plot([1, 2])\nplt.show()\nraise RuntimeError('after')"))
    eq(r.exit_code, 1, "exit code of a failing chart program")
    assert "RuntimeError: after" in r.result, r.result
    eq([c.type for c in r.artifacts.charts], ["line"], "charts before the failure")


run(scenario)

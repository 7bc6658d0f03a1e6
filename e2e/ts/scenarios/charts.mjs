// Charts of every kind arrive parsed, with a picture.

import assert from 'node:assert/strict'
import { ChartType } from '@daytonaio/sdk'
import { run } from './common.mjs'

const CODE = `
import matplotlib.pyplot as plt

plt.figure()
plt.plot([0, 1, 2, 3], [0.0, 1.5, 4.0, 9.5], label="growth")
plt.title("Line"); plt.xlabel("time (s)"); plt.ylabel("size (m)")
plt.show()

plt.figure()
plt.scatter([1, 2, 3], [4, 5, 6], label="dots")
plt.title("Scatter")
plt.show()

plt.figure()
plt.bar(["A", "B", "C"], [10, 20.5, 30], label="group one")
plt.title("Bar")
plt.show()

plt.figure()
plt.pie([25, 75], labels=["quarter", "rest"])
plt.title("Pie")
plt.show()

plt.figure()
plt.boxplot([[1, 2, 3, 4, 5, 40], [2, 4, 6, 8, 10]], patch_artist=True)
plt.title("Box")
plt.show()

fig, axes = plt.subplots(1, 2)
axes[0].plot([1, 2], [3, 4]); axes[0].set_title("left")
axes[1].bar(["u", "v"], [1, 2]); axes[1].set_title("right")
fig.suptitle("Both")
plt.show()
print("done")
`

run(async (d) => {
  const sb = await d.create({ language: 'python' })
  const r = await sb.process.codeRun(CODE)
  assert.deepEqual([r.exitCode, r.result.trim()], [0, 'done'])
  const charts = r.artifacts.charts
  assert.deepEqual(charts.map((c) => c.type), [
    ChartType.LINE, ChartType.SCATTER, ChartType.BAR, ChartType.PIE, ChartType.BOX_AND_WHISKER, ChartType.COMPOSITE_CHART,
  ])
  for (const c of charts) {
    assert.equal(Buffer.from(c.png, 'base64').subarray(1, 4).toString(), 'PNG')
  }
  const [line, scatter, bar, pie, box, both] = charts
  assert.deepEqual([line.title, line.x_label, line.y_label, line.x_scale, line.y_scale], ['Line', 'time (s)', 'size (m)', 'linear', 'linear'])
  assert.equal(line.elements[0].label, 'growth')
  assert.deepEqual(line.elements[0].points, [[0, 0], [1, 1.5], [2, 4], [3, 9.5]])
  assert.deepEqual(scatter.elements[0].points, [[1, 4], [2, 5], [3, 6]])
  assert.deepEqual(bar.elements.map((e) => [e.label, Number(e.value), e.group]), [
    ['A', 10, 'group one'], ['B', 20.5, 'group one'], ['C', 30, 'group one'],
  ])
  assert.deepEqual(pie.elements.map((e) => [e.label, Math.round(e.angle), e.radius]), [['quarter', 90, 1], ['rest', 270, 1]])
  const e = box.elements[0]
  assert.deepEqual([e.min, e.first_quartile, e.median, e.third_quartile, e.max, e.outliers], [1, 2.25, 3.5, 4.75, 5, [40]])
  assert.equal(both.title, 'Both')
  assert.deepEqual(both.elements.map((c) => [c.type, c.title]), [['line', 'left'], ['bar', 'right']])

  const plain = await sb.process.codeRun("print('no charts here')")
  assert.equal(plain.artifacts.charts?.length ?? 0, 0)
})

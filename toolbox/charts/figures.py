# Describes the figures that a program shows.
#
# After _toolbox_figures(sink), matplotlib.pyplot.show() calls sink(text) for
# each open figure; text is a JSON object that describes it. The rest of
# Matplotlib's behaviour stays as it is.


def _toolbox_figures(sink):
    import base64
    import functools
    import os
    import sys

    emitted = set()

    def number(value):
        """A finite float, or None."""
        try:
            value = float(value)
        except (TypeError, ValueError):
            return None
        return value if value - value == 0 else None

    def numbers(values):
        return [n for n in map(number, values) if n is not None]

    # ---- axes ----------------------------------------------------------

    def is_date(axis):
        from matplotlib import dates

        return isinstance(axis.get_major_locator(), dates.DateLocator)

    def seconds(value):
        """Matplotlib's days since 1970 (or its older epoch) as Unix time."""
        from matplotlib import dates

        return dates.num2date(value).timestamp()

    def on_axis(axis, values):
        """Positions on an axis as numbers; dates as Unix time."""
        convert = seconds if is_date(axis) else float
        out = []
        for value in values:
            value = number(value)
            out.append(None if value is None else number(convert(value)))
        return out

    def ticks(axis):
        places = [number(p) for p in axis.get_majorticklocs()]
        labels = [text.get_text() for text in axis.get_majorticklabels()]
        labels += [""] * (len(places) - len(labels))
        kept = [(p, l) for p, l in zip(places, labels) if p is not None]
        return [p for p, _ in kept], [l for _, l in kept]

    def scale(axis, places, labels):
        if is_date(axis):
            return "datetime"
        counted = bool(places) and all(p == i for i, p in enumerate(places))
        if counted and any(l and l != str(i) for i, l in enumerate(labels)):
            if not all(number(l.replace("\u2212", "-")) is not None for l in labels if l):
                return "categorical"
        return axis.get_scale()

    def frame(ax):
        """What all charts with two axes have in common."""
        out = {
            "title": ax.get_title(),
            "x_label": ax.get_xlabel(),
            "y_label": ax.get_ylabel(),
        }
        for key, axis in (("x", ax.xaxis), ("y", ax.yaxis)):
            places, labels = ticks(axis)
            out[key + "_scale"] = scale(axis, places, labels)
            out[key + "_ticks"] = on_axis(axis, places)
            out[key + "_tick_labels"] = labels
        return out

    # ---- kinds of charts -------------------------------------------------

    def is_ruler(line):
        """A straight line along an axis between two points: grid, axhline."""
        xs, ys = list(line.get_xdata(orig=False)), list(line.get_ydata(orig=False))
        return len(xs) == 2 and len(ys) == 2 and (xs[0] == xs[1] or ys[0] == ys[1])

    def points(ax, xs, ys):
        pairs = zip(on_axis(ax.xaxis, xs), on_axis(ax.yaxis, ys))
        return [[x, y] for x, y in pairs if x is not None and y is not None]

    def line_elements(ax, lines):
        return [
            {
                "label": str(line.get_label()),
                "points": points(ax, line.get_xdata(orig=False), line.get_ydata(orig=False)),
            }
            for line in lines
        ]

    def scatter_elements(ax, collections):
        out = []
        for collection in collections:
            offsets = collection.get_offsets()
            masked = getattr(offsets, "filled", None)
            if masked is not None:
                offsets = offsets.astype(float).filled(float("nan"))
            xs, ys = [o[0] for o in offsets], [o[1] for o in offsets]
            out.append({"label": str(collection.get_label()), "points": points(ax, xs, ys)})
        return out

    def is_horizontal(container):
        orientation = getattr(container, "orientation", None)
        if orientation:
            return orientation == "horizontal"
        heights = [bar.get_height() for bar in container.patches]
        widths = [bar.get_width() for bar in container.patches]
        return len(set(heights)) == 1 and len(set(widths)) > 1

    def bar_label(axis, middle, width):
        """The text of the tick that a bar belongs to, or its place.

        Bars in groups stand beside the tick that names them, so the nearest
        name counts. A tick that only shows its own place names no bar but one
        that stands on it.
        """
        places, labels = ticks(axis)
        nearest = min(range(len(places)), key=lambda i: abs(places[i] - middle), default=None)
        if nearest is not None and labels[nearest]:
            named = number(labels[nearest].replace("\u2212", "-")) is None
            if named or abs(places[nearest] - middle) <= abs(width) / 100:
                return labels[nearest]
        return "%g" % middle

    def bar_elements(ax, containers, horizontal):
        out = []
        for container in containers:
            for bar in container.patches:
                if horizontal:
                    axis, middle = ax.yaxis, bar.get_y() + bar.get_height() / 2
                    width, value = bar.get_height(), bar.get_width()
                else:
                    axis, middle = ax.xaxis, bar.get_x() + bar.get_width() / 2
                    width, value = bar.get_width(), bar.get_height()
                out.append(
                    {
                        "label": bar_label(axis, middle, width),
                        "group": str(container.get_label()),
                        "value": number(value) or 0.0,
                    }
                )
        return out

    def pie_elements(ax, wedges):
        texts = getattr(ax, "_toolbox_autopct", None) or []
        out = []
        for i, wedge in enumerate(wedges):
            out.append(
                {
                    "label": str(wedge.get_label()),
                    "angle": number(abs(wedge.theta2 - wedge.theta1)) or 0.0,
                    "radius": number(wedge.r) or 0.0,
                    "autopct": texts[i].get_text() if i < len(texts) else None,
                }
            )
        return out

    def box_elements(ax, boxes):
        axis = ax.xaxis if boxes[0]["vertical"] else ax.yaxis
        out = []
        for box in boxes:
            stats = box["stats"]
            label = stats.get("label")
            if box["position"] is not None:
                label = bar_label(axis, box["position"], 1.0) if label in (None, "") else label
            element = {"label": str("" if label is None else label)}
            for key, stat in (
                ("min", "whislo"),
                ("first_quartile", "q1"),
                ("median", "med"),
                ("third_quartile", "q3"),
                ("max", "whishi"),
            ):
                element[key] = number(stats.get(stat))
            element["outliers"] = numbers(stats.get("fliers", []))
            out.append({k: v for k, v in element.items() if v is not None})
        return out

    def describe_axes(ax):
        from matplotlib import collections, container, patches

        wedges = [p for p in ax.patches if isinstance(p, patches.Wedge)]
        if wedges:
            return {"type": "pie", "title": ax.get_title(), "elements": pie_elements(ax, wedges)}

        chart = frame(ax)
        boxes = getattr(ax, "_toolbox_boxes", None)
        lines = [line for line in ax.lines if not is_ruler(line)]
        dots = [c for c in ax.collections if isinstance(c, collections.PathCollection)]
        bars = [c for c in ax.containers if isinstance(c, container.BarContainer) and len(c.patches)]
        if boxes:
            chart.update(type="box_and_whisker", elements=box_elements(ax, boxes))
        elif bars and not dots and not lines:
            horizontal = is_horizontal(bars[0])
            chart.update(type="bar", elements=bar_elements(ax, bars, horizontal))
            if horizontal:
                chart["x_label"], chart["y_label"] = chart["y_label"], chart["x_label"]
        elif dots and not lines and not bars:
            chart.update(type="scatter", elements=scatter_elements(ax, dots))
        elif lines and not dots and not bars and not ax.patches and not ax.images:
            chart.update(type="line", elements=line_elements(ax, lines))
        else:
            # Several kinds in one, or one without a description here.
            chart.update(type="unknown", elements=[])
        return chart

    # ---- figures ---------------------------------------------------------

    def is_chart(ax):
        if getattr(ax, "_colorbar", None) is not None or ax.get_label() == "<colorbar>":
            return False
        return ax.has_data() or bool(ax.images)

    def picture(figure):
        import io

        buffer = io.BytesIO()
        figure.savefig(buffer, format="png", dpi=100, bbox_inches="tight")
        try:
            from PIL import Image

            smaller = io.BytesIO()
            buffer.seek(0)
            Image.open(buffer).save(smaller, format="PNG", optimize=True, compress_level=9)
            if smaller.tell() < buffer.getbuffer().nbytes:
                buffer = smaller
        except Exception:
            pass
        return base64.b64encode(buffer.getvalue()).decode("ascii")

    def describe_figure(figure):
        charts = []
        try:
            charts = [describe_axes(ax) for ax in figure.axes if is_chart(ax)]
        except Exception:
            charts = []
        if len(charts) == 1 and charts[0]["type"] != "unknown":
            chart = charts[0]
        elif len(charts) > 1:
            title = figure.texts[0].get_text() if figure.texts else None
            chart = {"type": "composite_chart", "title": title, "elements": charts}
        else:
            chart = charts[0] if charts else {"type": "unknown", "title": "", "elements": []}
        chart["png"] = picture(figure)
        return chart

    def emit(figure):
        import hashlib
        import io
        import json

        sketch = io.BytesIO()
        figure.savefig(sketch, format="png", dpi=50)
        digest = hashlib.md5(sketch.getvalue()).hexdigest()
        if digest in emitted:
            return
        emitted.add(digest)
        sink(json.dumps({"type": "chart", "value": describe_figure(figure)}, allow_nan=False))

    # ---- hooks -----------------------------------------------------------

    def remember_pie(plain):
        @functools.wraps(plain)
        def pie(self, *args, **kwargs):
            result = plain(self, *args, **kwargs)
            try:
                self._toolbox_autopct = list(result[2]) if len(result) > 2 else []
            except Exception:
                pass
            return result

        return pie

    def remember_boxes(plain):
        @functools.wraps(plain)
        def bxp(self, bxpstats, *args, **kwargs):
            result = plain(self, bxpstats, *args, **kwargs)
            try:
                positions = kwargs.get("positions", args[0] if args else None)
                if positions is None:
                    positions = range(1, len(bxpstats) + 1)
                vertical = kwargs.get("orientation", "vertical") == "vertical" and kwargs.get("vert") is not False
                kept = self.__dict__.setdefault("_toolbox_boxes", [])
                for stats, position in zip(bxpstats, positions):
                    kept.append({"stats": dict(stats), "position": number(position), "vertical": vertical})
            except Exception:
                pass
            return result

        return bxp

    def hook(pyplot):
        from matplotlib.axes import Axes

        plain = pyplot.show

        @functools.wraps(plain)
        def show(*args, **kwargs):
            import warnings

            for num in list(pyplot.get_fignums()):
                try:
                    emit(pyplot._pylab_helpers.Gcf.figs[num].canvas.figure)
                except Exception as err:
                    sys.stderr.write("chart not captured: %s: %s\n" % (type(err).__name__, err))
            with warnings.catch_warnings():
                # That nothing is shown on a screen is no news here.
                warnings.filterwarnings("ignore", message=".*non-(GUI|interactive).*")
                result = plain(*args, **kwargs)
            pyplot.close("all")
            return result

        pyplot.show = show
        Axes.pie = remember_pie(Axes.pie)
        Axes.bxp = remember_boxes(Axes.bxp)

    class PyplotFinder:
        """Finds matplotlib.pyplot as others do, and hooks it once loaded."""

        looking = False

        def find_spec(self, fullname, path=None, target=None):
            if fullname != "matplotlib.pyplot" or self.looking:
                return None
            self.looking = True
            try:
                spec = sys.modules["_frozen_importlib"]._find_spec(fullname, path, target)
            finally:
                self.looking = False
            if spec is None or spec.loader is None:
                return None
            load = spec.loader.exec_module

            def exec_module(module):
                load(module)
                hook(sys.modules[fullname])

            spec.loader.exec_module = exec_module
            return spec

    sys.meta_path.insert(0, PyplotFinder())
    os.environ.setdefault("MPLBACKEND", "Agg")

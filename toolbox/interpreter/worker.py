# Runs what an interpreter context is given, one piece of code after the other,
# as if each were the next part of the program __main__.
#
# The toolbox feeds this file to "python3 -u -", with one end of a socket as file
# descriptor 3. A request is one line of JSON, {"code", "envs"}. Answers are lines
# of JSON too: "error" with name, value and traceback, "chart", "display", and at
# last "done". A chart or a display has a number; the code goes on when that has
# come back as {"ack"}, so that nothing printed later overtakes it. What the code
# prints goes to the descriptors 1 and 2, where what
# its child processes print goes as well.


def _toolbox_worker():
    import builtins
    import json
    import linecache
    import os
    import signal
    import sys
    import threading
    import traceback

    control = 3
    os.set_inheritable(control, False)
    me = os.getpid()
    main = sys.modules["__main__"].__dict__
    del main["_toolbox_worker"]
    figures = main.pop("_toolbox_figures")
    for name in ("__file__", "__cached__"):
        main.pop(name, None)
    lock = threading.Lock()
    busy = False
    count = 0
    features = 0
    cells = []

    def send(message):
        data = (json.dumps(message) + "\n").encode("ascii")
        with lock:
            while data:
                data = data[os.write(control, data) :]

    # An interrupt is for the code that runs, never for this program.
    def interrupted(signum, frame):
        if busy:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, interrupted)

    # ---- what is shown ---------------------------------------------------

    requests = open(control, "rb", closefd=False)
    shown = 0
    showing = threading.Lock()

    def show(message):
        nonlocal shown
        with showing:
            shown += 1
            send(dict(message, seq=shown))
            while busy and os.getpid() == me:
                line = requests.readline()
                if not line or json.loads(line).get("ack") == shown:
                    break

    def chart(text):
        show({"type": "chart", "value": json.loads(text)["value"]})

    figures(chart)

    kinds = (
        ("_repr_html_", "text/html"),
        ("_repr_markdown_", "text/markdown"),
        ("_repr_svg_", "image/svg+xml"),
        ("_repr_png_", "image/png"),
        ("_repr_jpeg_", "image/jpeg"),
        ("_repr_latex_", "text/latex"),
        ("_repr_json_", "application/json"),
    )

    def as_text(mime, value):
        if isinstance(value, tuple):  # with metadata
            value = value[0]
        if isinstance(value, (bytes, bytearray)):
            import base64

            return base64.b64encode(value).decode("ascii")
        if isinstance(value, str):
            return value
        return json.dumps(value)

    def forms(obj):
        data = {}
        bundle = getattr(obj, "_repr_mimebundle_", None)
        if callable(bundle) and not isinstance(obj, type):
            try:
                value = bundle(include=None, exclude=None)
                value = value[0] if isinstance(value, tuple) else value
                data.update((str(k), as_text(k, v)) for k, v in (value or {}).items())
            except Exception:
                pass
        for method, mime in kinds:
            make = getattr(obj, method, None)
            if mime in data or not callable(make) or isinstance(obj, type):
                continue
            try:
                value = make()
                if value is not None:
                    data[mime] = as_text(mime, value)
            except Exception:
                pass  # an object that cannot be shown in this form
        data.setdefault("text/plain", repr(obj))
        return data

    def display(*objects):
        """Prints objects, and shows their rich forms to clients that know them."""
        for obj in objects:
            data = forms(obj)
            print(data["text/plain"])
            show({"type": "display", "data": data})

    builtins.display = display

    # ---- the code --------------------------------------------------------

    def remember(name, source):
        linecache.cache[name] = (len(source), None, source.splitlines(True), name)
        cells.append(name)
        if len(cells) > 1000:
            linecache.cache.pop(cells.pop(0), None)

    def text_of(value):
        try:
            return str(value)
        except BaseException:
            return "<%s object that cannot be shown>" % type(value).__name__

    def describe(err, trace):
        try:
            lines = traceback.format_exception(type(err), err, trace)
        except BaseException:
            lines = ["%s: %s\n" % (type(err).__name__, text_of(err))]
        return {
            "type": "error",
            "name": type(err).__name__,
            "value": text_of(err),
            "traceback": "".join(lines),
        }

    def run(source, name):
        """Returns what went wrong, or None."""
        nonlocal busy, features
        trace = None
        try:
            try:
                busy = True
                code = compile(source, name, "exec", features, True)
                features |= code.co_flags & future_flags
                exec(code, main)
            finally:
                busy = False
            return None
        except BaseException as err:
            busy = False
            trace = err.__traceback__
            # The user's frames begin with those of the code itself.
            while trace is not None and trace.tb_frame.f_code.co_filename != name:
                trace = trace.tb_next
            err = err.with_traceback(trace)
            return isinstance(err, KeyboardInterrupt), describe(err, trace)

    import __future__

    future_flags = 0
    for feature in __future__.all_feature_names:
        future_flags |= getattr(__future__, feature).compiler_flag
    future_flags &= ~0x10  # generators and nested scopes have flags of another kind

    while True:
        line = requests.readline()
        if not line:
            break
        request = json.loads(line)
        if "ack" in request:
            continue
        count += 1
        name = "<cell %d>" % count
        source = request["code"]
        remember(name, source)
        before = {}
        for key, value in (request.get("envs") or {}).items():
            before[key] = os.environ.get(key)
            os.environ[key] = value
        failed = run(source, name)
        if os.getpid() != me:
            # The code has forked and its child came to the end of the code.
            os._exit(0 if failed is None else 1)
        for key, value in before.items():
            if value is None:
                os.environ.pop(key, None)
            else:
                os.environ[key] = value
        for stream in (sys.stdout, sys.stderr):
            try:
                stream.flush()
            except Exception:
                pass
        if failed is not None:
            send(failed[1])
        send({"type": "done", "interrupted": failed is not None and failed[0]})
        failed = request = line = None


_toolbox_worker()

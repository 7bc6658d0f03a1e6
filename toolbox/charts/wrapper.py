# Runs a program as __main__ and reports the figures that it shows, each as one
# line of output: the marker and a JSON object. The toolbox feeds this to Python
# with the program in place of the text after b64decode.


def _toolbox_main():
    import base64
    import linecache
    import sys
    import types

    marker = "dtn_artifact_k39fd2:"
    name = "<target_code>"
    source = base64.b64decode("@CODE@").decode("utf-8", "surrogatepass")

    def line(text):
        out = sys.__stdout__
        out.write(marker + text + "\n")
        out.flush()

    _toolbox_figures(line)
    module = types.ModuleType("__main__")
    module.__dict__["__builtins__"] = __builtins__
    sys.modules["__main__"] = module
    linecache.cache[name] = (len(source), None, source.splitlines(True), name)
    try:
        exec(compile(source, name, "exec"), module.__dict__)
    except Exception as err:
        trace = err.__traceback__.tb_next  # the first frame is this function's
        err = err.with_traceback(trace)
        if sys.excepthook is sys.__excepthook__:
            # The built-in hook does not look for the lines of a program that
            # is in no file.
            import traceback

            traceback.print_exception(type(err), err, trace)
        else:
            sys.excepthook(type(err), err, trace)
        sys.exit(1)


_toolbox_main()

# A Python that is ready: it has imported what programs usually import, and
# becomes a copy of itself that runs a program.
#
# It is found as "sitecustomize" by "python3 -u -", at the point of the start of
# Python where the site's own module of that name would be. There it imports
# modules, puts them aside and waits. Asked by the toolbox it forks; the child
# waits for its orders (descriptors, arguments, directory, variables) and then
# simply returns: Python goes on with its start as it always does, and reads the
# program from standard input. So the program finds everything where it is in a
# fresh process; the modules put aside come back when they are imported.
#
# Descriptor 3 was this file, 4 is the socket to the toolbox. A message has a
# length in four bytes, then texts that are separated by NUL bytes.


def _ready():
    import builtins
    import os
    import sys

    frozen = sys.modules["_frozen_importlib"]
    source = os.environ["PYTHONPATH"].split(":")[0]  # of this file
    roots = [r for r in os.environ.pop("DAYTONA_READY_MODULES", "").split(",") if r]

    # ---- the site's own module -------------------------------------------

    # As if this file had never been.
    while source in sys.path:
        sys.path.remove(source)
    sys.path_importer_cache.pop(source, None)
    zipimport = sys.modules.get("zipimport")
    if zipimport is not None:
        zipimport._zip_directory_cache.pop(source, None)
    del sys.modules["sitecustomize"]
    os.close(3)
    try:
        import sitecustomize  # noqa: F401
    except ImportError as err:
        if err.name != "sitecustomize":
            raise SystemExit(3)

    # ---- importing, and writing down what belongs together ----------------

    base = set(sys.modules)
    base_caches = set(sys.path_importer_cache)
    stash = {}  # name: module, of the modules put aside
    events = {}  # name: what its import has done, in order
    bound = set()  # names of submodules that are attributes of their parents
    aliases = set()  # names of modules that are __main__
    asked = set()  # names of variables that were asked for

    def record():
        stack, loaded = [], set()
        filters = sys.modules["_warnings"].filters
        lists = {"meta_path": sys.meta_path, "path": sys.path, "path_hooks": sys.path_hooks, "filters": filters}
        seen = {name: list(value) for name, value in lists.items()}
        variables = os.environ._data
        seen_variables = dict(variables)
        first = {name: list(value) for name, value in seen.items()}
        first_variables = dict(variables)

        def note(kind, value):
            if stack:
                events.setdefault(stack[-1], []).append((kind, value))

        def look():
            """Writes down what has changed since the last look."""
            for name, value in lists.items():
                old = seen[name]
                if len(old) == len(value) and all(a is b for a, b in zip(old, value)):
                    continue
                known, now = set(map(id, old)), set(map(id, value))
                front, back = [], []
                for item in value:
                    if id(item) in known:
                        break
                    front.append(item)
                if len(front) < len(value):
                    for item in reversed(value):
                        if id(item) in known:
                            break
                        back.insert(0, item)
                gone = [item for item in old if id(item) not in now]
                note(name, (gone, front, back))
                seen[name] = list(value)
            if variables != seen_variables:
                for key in set(variables) | set(seen_variables):
                    if variables.get(key) != seen_variables.get(key):
                        note("variable", (key, variables.get(key)))
                seen_variables.clear()
                seen_variables.update(variables)

        def imported(name):
            parts = name.split(".")
            for i in range(1, len(parts) + 1):
                note("import", ".".join(parts[:i]))

        plain_load = frozen._load_unlocked
        plain_gcd = frozen._gcd_import
        plain_import = builtins.__import__
        environ = type(os.environ)
        plain_getitem = environ.__getitem__

        def load(spec):
            look()
            imported(spec.name)
            before = set(sys.modules)
            stack.append(spec.name)
            loaded.add(spec.name)
            try:
                return plain_load(spec)
            finally:
                look()
                for name in sys.modules:
                    if name not in before and name not in loaded:
                        loaded.add(name)
                        note("add", name)
                stack.pop()

        def import_(name, globals=None, locals=None, fromlist=(), level=0):
            full = name
            if level > 0:
                package = frozen._calc___package__(globals or {})
                try:
                    full = frozen._resolve_name(name, package, level)
                except ImportError:
                    full = ""
            # In the order of a fresh import: the module, then what is in it.
            if full:
                imported(full)
            result = plain_import(name, globals, locals, fromlist, level)
            names = list(fromlist or ())
            if full and names:
                if "*" in names:
                    names += list(getattr(sys.modules.get(full), "__all__", ()))
                for item in names:
                    sub = "%s.%s" % (full, item)
                    if isinstance(item, str) and sub in sys.modules:
                        if getattr(sys.modules[full], item, None) is sys.modules[sub]:
                            imported(sub)
            return result

        def gcd(name, package=None, level=0):
            if level == 0:
                imported(name)
            return plain_gcd(name, package, level)

        def getitem(self, key):
            if isinstance(key, str):
                asked.add(key)
            return plain_getitem(self, key)

        atexit = sys.modules.get("atexit") or plain_import("atexit")
        plain_register = atexit.register
        recording = True

        def register(func, *args, **kwargs):
            if recording:
                note("atexit", (func, args, kwargs))
                return func
            return plain_register(func, *args, **kwargs)

        atexit.register = register
        frozen._load_unlocked, frozen._gcd_import = load, gcd
        builtins.__import__, environ.__getitem__ = import_, getitem
        failed = []
        try:
            for root in roots:
                try:
                    plain_import(root)
                except ImportError:
                    failed.append(root)
        finally:
            builtins.__import__, environ.__getitem__ = plain_import, plain_getitem
            frozen._load_unlocked, frozen._gcd_import = plain_load, plain_gcd
            atexit.register = plain_register
            recording = False
        for name, value in lists.items():
            value[:] = first[name]
        for key in set(variables) - set(first_variables):
            del os.environ[os.fsdecode(key)]
        for key, value in first_variables.items():
            if variables.get(key) != value:
                os.environ[os.fsdecode(key)] = os.fsdecode(value)
        mutated()
        return failed

    def mutated():
        _warnings = sys.modules["_warnings"]
        call = getattr(_warnings, "_filters_mutated", None) or getattr(_warnings, "_filters_mutated_lock_held", None)
        if call is not None:
            lock = getattr(_warnings, "_acquire_lock", None)
            if lock is not None:
                lock()
            try:
                call()
            finally:
                if lock is not None:
                    _warnings._release_lock()

    def put_aside():
        for name in [n for n in sys.modules if n not in base]:
            if sys.modules[name] is sys.modules["__main__"]:
                # Another name for the program, which must not live longer.
                aliases.add(name)
                del sys.modules[name]
                continue
            stash[name] = sys.modules[name]
        for name, module in stash.items():
            parent, _, child = name.rpartition(".")
            if parent and parent in sys.modules:
                names = getattr(sys.modules[parent], "__dict__", {})
                if names.get(child) is module:
                    del names[child]
                    bound.add(name)
        for name in stash:
            del sys.modules[name]
        for name, done in list(events.items()):
            seen, kept = set(), []
            for kind, value in done:
                if kind in ("import", "add"):
                    if value == name or value in seen or value not in stash and value not in aliases:
                        continue
                    seen.add(value)
                kept.append((kind, value))
            events[name] = kept
        for path in list(sys.path_importer_cache):
            if path not in base_caches:
                del sys.path_importer_cache[path]

    # ---- giving back -----------------------------------------------------

    def bring(name):
        """Does what an import of a module that was put aside would do."""
        parent, _, child = name.rpartition(".")
        if parent in stash:
            bring(parent)
        module = stash.pop(name, None)
        if module is None:
            return
        sys.modules[name] = module
        for kind, value in events.pop(name, ()):
            if kind == "import":
                if value in stash:
                    bring(value)
            elif kind == "add":
                if value in aliases:
                    sys.modules[value] = sys.modules["__main__"]
                elif value in stash:
                    sys.modules[value] = stash.pop(value)
                    bind(value)
            elif kind == "atexit":
                sys.modules.get("atexit", atexit).register(value[0], *value[1], **value[2])
            elif kind == "variable":
                key, text = value
                if text is None:
                    os.environ.pop(os.fsdecode(key), None)
                else:
                    os.environ[os.fsdecode(key)] = os.fsdecode(text)
            else:
                change(kind, *value)
        # At the end of its load a module moves behind what it has imported.
        del sys.modules[name]
        sys.modules[name] = module
        if name == "matplotlib" and os.environ.get("MPLBACKEND"):
            # The last thing that its import does, with the variable of now.
            module.rcParams["backend"] = os.environ.get("MPLBACKEND")
        bind(name)

    def bind(name):
        parent, _, child = name.rpartition(".")
        if name in bound and parent in sys.modules:
            setattr(sys.modules[parent], child, sys.modules[name])

    def change(kind, gone, front, back):
        target = sys.modules["_warnings"].filters if kind == "filters" else getattr(sys, kind)
        target[:] = front + [i for i in target if not any(i is g for g in gone)] + back
        if kind == "filters":
            mutated()

    class Loader:
        @staticmethod
        def create_module(spec):
            return None

        @staticmethod
        def exec_module(module):
            # A module may put another in its own place; this is such a one.
            name = module.__name__
            sys.modules.pop(name, None)
            bring(name)

    plain_find = frozen._find_spec
    state = {"finders": list(sys.meta_path), "path": list(sys.path), "cwd": ""}

    def find(name, path, target=None):
        if name in stash:
            for finder in sys.meta_path:
                if any(finder is f for f in state["finders"]):
                    break
                look = getattr(finder, "find_spec", None)
                spec = look and look(name, path, target)
                if spec is not None:
                    return spec
            if "." not in name and (sys.path != state["path"] or os.getcwd() != state["cwd"]):
                # Where the module came from may not be the first place any more.
                for entry in sys.path:
                    if entry and entry in state["path"]:
                        break
                    spec = frozen_external.PathFinder.find_spec(name, [entry])
                    if spec is not None and spec.loader is not None:
                        return spec
            return frozen.ModuleSpec(name, Loader())
        return plain_find(name, path, target)

    frozen_external = sys.modules["_frozen_importlib_external"]

    # ---- messages --------------------------------------------------------

    import array
    import gc

    import _socket

    def receive(sock):
        """The texts and descriptors of one message, or None at the end."""
        data, fds = b"", array.array("i")
        size = None
        while size is None or len(data) < size + 4:
            want = 4 - len(data) if size is None else size + 4 - len(data)
            part, ancillary, _, _ = sock.recvmsg(want, _socket.CMSG_SPACE(16 * fds.itemsize), _socket.MSG_CMSG_CLOEXEC)
            if not part:
                return None, []
            for level, kind, value in ancillary:
                if level == _socket.SOL_SOCKET and kind == _socket.SCM_RIGHTS:
                    fds.frombytes(value[: len(value) - len(value) % fds.itemsize])
            data += part
            if size is None and len(data) >= 4:
                size = int.from_bytes(data[:4], "little")
        return data[4:].split(b"\0"), list(fds)

    def send(sock, *texts):
        data = b"\0".join(texts)
        data = len(data).to_bytes(4, "little") + data
        while data:
            data = data[sock.send(data) :]

    # ---- names in the process list ----------------------------------------

    def process_name():
        """Returns a function that shows another name for this process."""
        try:
            libc = ctypes.CDLL(None)
            kept = ctypes.create_string_buffer(16)
            libc.prctl(16, kept, 0, 0, 0)
            area = b"\0".join([b"python3", b"-u", b"-", b""])
            first = ctypes.POINTER(ctypes.c_void_p).in_dll(libc, "environ")[0]
            at = first - len(area)
            if ctypes.string_at(at, len(area)) != area:
                at = None
        except Exception:
            return lambda hidden: None

        def show(hidden):
            libc.prctl(15, b"toolbox-ready" if hidden else kept, 0, 0, 0)
            if at is not None:
                ctypes.memmove(at, b"toolbox" if hidden else b"python3", 7)

        return show

    # ---- life ------------------------------------------------------------

    failed = record()
    atexit = sys.modules["atexit"]
    put_aside()
    preloaded = dict(stash)
    keep = list(stash.values())
    ctypes = preloaded.get("ctypes")
    show = process_name()

    def quick_end():
        """Returns a function that spares this process the end of its libraries.

        When a C program exits, each library cleans up. For those that were
        loaded ahead this takes longer than most programs run, and the kernel
        does it all the same. What a program has loaded itself is given its turn.
        """
        try:
            libc = ctypes.CDLL(None)
            on_exit, on_last, end, flush = libc.on_exit, libc.__cxa_atexit, libc._exit, libc.fflush

            class Info(ctypes.Structure):
                _fields_ = [("addr", ctypes.c_void_p), ("name", ctypes.c_void_p), ("headers", ctypes.c_void_p),
                            ("count", ctypes.c_uint16), ("loads", ctypes.c_ulonglong)]

            loads = [0, 0]

            @ctypes.CFUNCTYPE(ctypes.c_int, ctypes.POINTER(Info), ctypes.c_size_t, ctypes.c_void_p)
            def look(info, size, _):
                loads[1] = info.contents.loads
                return 1

            def count():
                libc.dl_iterate_phdr(look, None)
                return loads[1]

            loads[0] = count()
        except Exception:
            return lambda: None

        def arrange():
            if count() == loads[0]:
                # The last that was asked for comes first.
                on_exit(end, None)
                on_last(flush, None, None)

        return arrange

    arrange_end = quick_end()

    def let_go():
        # What was imported for everybody is not taken apart at the end of
        # each: that would take longer than most programs run.
        for name, module in preloaded.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
        arrange_end()

    try:
        for obj in (keep, preloaded, events, stash, bound, base, find):
            ctypes.pythonapi.Py_IncRef(ctypes.py_object(obj))
        atexit.register(let_go)
    except Exception:
        pass
    for name in [n for n in sys.modules if n not in base]:
        del sys.modules[name]
    frozen._find_spec = find
    gc.collect()
    gc.freeze()

    def touch(sock):
        """Makes the pages of this copy its own before there is any hurry.

        gVisor copies up to two megabytes when one byte of a shared page is
        written, which a program would otherwise wait for again and again. It
        ends as soon as orders are there.
        """
        if ctypes is None:
            return
        move = ctypes.memmove
        with open("/proc/self/maps") as maps:
            spans = [line.split(None, 2)[:2] for line in maps]
        for span, rights in spans:
            if rights == "rw-p":
                at, end = (int(x, 16) for x in span.split("-"))
                try:
                    sock.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
                    return
                except BlockingIOError:
                    pass
                while at < end:
                    move(at, at, 1)
                    at += 65536

    def child(sock):
        """Waits for orders, and makes this process what they say."""
        os.setpgid(0, 0)
        if not sock.recv(1):
            os._exit(0)
        sock.send(b"!")  # alive, and known by this number
        fresh_state()
        touch(sock)
        orders, fds = receive(sock)
        if orders is None or len(fds) < 3:
            os._exit(0)
        # directory, number of arguments, arguments, variables
        directory, count = orders[0], int(orders[1])
        args = [os.fsdecode(a) for a in orders[2 : 2 + count]]
        variables = orders[2 + count :]
        os.chdir(directory)
        for name in os.listdir("."):
            # A module of the user's own that comes before one of ours.
            stem, _, ending = name.partition(".")
            if stem in stash and (not ending or ending in ("py", "pyc") or ending.endswith("so")):
                os._exit(0)
        own = os.environ.get("LC_CTYPE")  # if nobody else, Python itself has set it
        for name in list(os.environ):
            del os.environ[name]
        for pair in variables:
            name, _, value = pair.partition(b"=")
            os.environb[name] = value
        if own is not None and "LC_CTYPE" not in os.environ:
            os.environ["LC_CTYPE"] = own
        sys.argv[:] = args[2:]
        if hasattr(sys, "orig_argv"):
            sys.orig_argv[:] = args
        state["finders"] = list(sys.meta_path)
        state["path"] = [""] + sys.path
        state["cwd"] = os.getcwd()
        show(False)
        # From here on the toolbox takes what happens for the program's doing.
        sock.send(b"k")
        sock.close()
        low = []
        for i, fd in enumerate(fds):
            while fd < len(fds):  # in the way of one that is yet to be moved
                low.append(fd)
                fd = os.dup(fd)
            fds[i] = fd
        for fd in low:
            os.close(fd)
        for i, fd in enumerate(fds):
            os.dup2(fd, i)
            os.close(fd)

    def fresh_state():
        """What a process has to itself, and a copy would share."""
        # The collector leaves alone what it was told to when the template had
        # been made; the program's own module must not be among that.
        old = sys.modules["__main__"].__dict__
        main = type(sys)("__main__")
        main.__dict__.clear()
        main.__dict__.update(old)
        sys.modules["__main__"] = main
        random = preloaded.get("numpy.random.mtrand")
        if random is not None:
            random.seed()
        process = preloaded.get("multiprocessing.process")
        if process is not None:
            process._current_process._config["authkey"] = process.AuthenticationString(os.urandom(32))
        threading = preloaded.get("threading") or sys.modules.get("threading")
        if threading is not None and hasattr(threading.main_thread(), "_set_native_id"):
            threading.main_thread()._set_native_id()

    def fork(control, sock):
        """Becomes a parent, or returns True in the child of its child.

        The one between ends at once, so the toolbox becomes the parent of the
        child, as of any other process that it starts.
        """
        reader, writer = os.pipe()
        middle = os.fork()
        if middle == 0:
            grandchild = 1
            try:
                grandchild = os.fork()
                if grandchild != 0:
                    os.write(writer, b"%d" % grandchild)
            finally:
                if grandchild != 0:
                    os._exit(0)
            try:
                os.close(reader)
                os.close(writer)
                control.close()
                child(sock)
                return True
            except BaseException:
                os._exit(0)
        os.close(writer)
        number = os.read(reader, 32)
        os.close(reader)
        os.waitpid(middle, 0)
        send(control, number or b"0")
        return False

    def places():
        """Directories whose change may change what an import brings."""
        found = set(sys.path)
        site = sys.modules.get("site")
        found.add(getattr(site, "USER_SITE", None) or "")
        for module in preloaded.values():
            file = getattr(module, "__file__", None)
            if isinstance(file, str):
                found.add(os.path.dirname(file))
        return sorted(f for f in found if f.startswith("/"))

    os.set_inheritable(4, False)
    control = _socket.socket(fileno=4)
    send(control, b"up", b",".join(f.encode() for f in failed),
         b"\n".join(os.fsencode(n) for n in sorted(asked)), b"\n".join(map(os.fsencode, places())))
    show(True)
    while True:
        orders, fds = receive(control)
        if orders is None or len(fds) != 1:
            os._exit(0)
        sock = _socket.socket(fileno=fds[0])
        if fork(control, sock):
            return "sitecustomize" in sys.modules
        sock.close()


if not _ready():
    raise ImportError("No module named 'sitecustomize'", name="sitecustomize")

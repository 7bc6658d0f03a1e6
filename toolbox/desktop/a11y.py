import json
import re
import sys


class Problem(Exception):
    def __init__(self, code, text):
        super().__init__(text)
        self.code = code


try:
    from gi.repository import Gio, GLib
except ImportError:
    print(json.dumps({"code": "A11Y_UNAVAILABLE", "error": "the Python module gi is not installed"}))
    sys.exit()

REGISTRY = "org.a11y.atspi.Registry"
ROOT = "/org/a11y/atspi/accessible/root"
NULL = "/org/a11y/atspi/null"
IFACE = "org.a11y.atspi."
STATES = (
    "invalid active armed busy checked collapsed defunct editable enabled expandable expanded focusable focused "
    "has-tooltip horizontal iconified modal multi-line multiselectable opaque pressed resizable selectable selected "
    "sensitive showing single-line stale transient vertical visible manages-descendants indeterminate required "
    "truncated animated invalid-entry supports-autocompletion selectable-text is-default visited checkable has-popup "
    "read-only"
).split()
PATIENCE = 3000  # milliseconds for one answer of a program


def connect():
    try:
        session = Gio.bus_get_sync(Gio.BusType.SESSION, None)
        address = session.call_sync(
            "org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus", "GetAddress", None, None, 0, 10000, None
        ).unpack()[0]
        flags = Gio.DBusConnectionFlags
        return Gio.DBusConnection.new_for_address_sync(
            address, flags.AUTHENTICATION_CLIENT | flags.MESSAGE_BUS_CONNECTION, None, None
        )
    except GLib.Error as e:
        raise Problem("A11Y_UNAVAILABLE", f"there is no accessibility bus: {e.message}") from e


bus = None


def ask(node, interface, method, *args):
    """Calls a method of a node, which is a pair of bus name and path."""
    parameters = GLib.Variant(args[0], args[1:]) if args else None
    return bus.call_sync(node[0], node[1], interface, method, parameters, None, 0, PATIENCE, None).unpack()


def accessible(node, method, *args):
    return ask(node, IFACE + "Accessible", method, *args)


def prop(node, interface, name):
    return ask(node, "org.freedesktop.DBus.Properties", "Get", "(ss)", IFACE + interface, name)[0]


def children(node):
    return [tuple(c) for c in accessible(node, "GetChildren")[0] if c[1] != NULL]


def states(node):
    low, high = accessible(node, "GetState")[0]
    bits = low | high << 32
    return [name for i, name in enumerate(STATES) if bits >> i & 1]


def describe(node, details=True):
    one = {"id": f"{node[0]}{node[1]}", "role": accessible(node, "GetRoleName")[0], "name": prop(node, "Accessible", "Name")}
    one["states"] = states(node)
    if not details:
        return one
    one.update(description=prop(node, "Accessible", "Description"), actions=[], children=[])
    one["bounds"] = {"x": 0, "y": 0, "width": 0, "height": 0}
    interfaces = accessible(node, "GetInterfaces")[0]
    if IFACE + "Component" in interfaces:
        x, y, width, height = ask(node, IFACE + "Component", "GetExtents", "(u)", 0)[0]
        if min(x, y) > -(1 << 30):  # what is not shown is nowhere
            one["bounds"] = {"x": x, "y": y, "width": width, "height": height}
    if IFACE + "Action" in interfaces:
        one["actions"] = [action(node, i) for i in range(min(prop(node, "Action", "NActions"), 32))]
    return one


def action(node, i):
    return ask(node, IFACE + "Action", "GetName", "(i)", i)[0]


def pid_of(node):
    return bus.call_sync(
        "org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "GetConnectionUnixProcessID",
        GLib.Variant("(s)", (node[0],)), None, 0, PATIENCE, None,
    ).unpack()[0]


def roots(q):
    applications = []
    for app in children((REGISTRY, ROOT)):
        try:
            if q["scope"] != "pid" or pid_of(app) == q["pid"]:
                applications.append(app)
        except GLib.Error:
            continue  # it has ended, or hangs
    if q["scope"] != "focused":
        return applications
    for app in applications:
        try:
            for window in children(app):
                if "active" in states(window):
                    return [window]
        except GLib.Error:
            continue
    return []


class Walk:
    """Reads nodes, at most so many and so deep."""

    def __init__(self, q):
        self.left, self.depth, self.truncated = q["maxNodes"], q["maxDepth"], False

    def tree(self, node, depth=0):
        if self.left <= 0:
            self.truncated = True
            return None
        self.left -= 1
        try:
            one, below = describe(node), children(node)
        except GLib.Error:
            return None  # it has gone meanwhile
        if depth >= self.depth:
            self.truncated = self.truncated or bool(below)
            return one
        one["children"] = [c for c in (self.tree(n, depth + 1) for n in below) if c]
        return one

    def nodes(self, start):
        waiting = [(node, 0) for node in start]
        while waiting:
            node, depth = waiting.pop(0)
            if self.left <= 0 or depth > self.depth:
                self.truncated = True
                continue
            self.left -= 1
            try:
                below = children(node)
            except GLib.Error:
                continue
            yield node
            waiting.extend((n, depth + 1) for n in below)


def tree(q):
    found = roots(q)
    if not found:
        raise Problem("A11Y_NO_ACCESSIBLE_ROOT", "no program on the screen offers an accessibility tree for this scope")
    walk = Walk(q)
    trees = [t for t in map(walk.tree, found) if t]
    if len(trees) == 1:
        root = trees[0]
    else:
        root = {"id": REGISTRY + ROOT, "role": "desktop frame", "name": "", "description": "", "states": [], "actions": [],
                "bounds": {"x": 0, "y": 0, "width": 0, "height": 0}, "children": trees}
    return {"root": root, "truncated": walk.truncated}


def find(q):
    name, how, role = q.get("name", ""), q["nameMatch"], q.get("role", "").lower()
    wanted = {s.lower().replace("_", "-") for s in q.get("states") or ()}
    try:
        pattern = re.compile(name) if how == "regex" else None
    except re.error as e:
        raise Problem("A11Y_INVALID_REQUEST", f"name is not a regular expression: {e}") from e

    def fits(one):
        if role and one["role"].lower() != role or not wanted <= set(one["states"]):
            return False
        if pattern:
            return bool(pattern.search(one["name"]))
        if how == "exact" and name:
            return one["name"] == name
        return name.lower() in one["name"].lower()

    walk, matches = Walk(q), []
    for node in walk.nodes(roots(q)):
        try:
            if not fits(describe(node, details=False)):
                continue
            if len(matches) == q["limit"]:
                walk.truncated = True
                break
            matches.append(describe(node))
        except GLib.Error:
            continue
    return {"matches": matches, "truncated": walk.truncated}


def node_of(q):
    name, slash, path = q["id"].partition("/")
    if not slash or not Gio.dbus_is_name(name) or not GLib.Variant.is_object_path("/" + path):
        raise Problem("A11Y_NODE_NOT_FOUND", "node not found")
    node = (name, "/" + path)
    try:
        if "defunct" in states(node):
            raise Problem("A11Y_NODE_NOT_FOUND", "node not found")
        return node, accessible(node, "GetInterfaces")[0]
    except GLib.Error as e:
        raise Problem("A11Y_NODE_NOT_FOUND", "node not found") from e


def unsupported(text):
    return Problem("A11Y_ACTION_NOT_SUPPORTED", text)


def focus(q):
    node, interfaces = node_of(q)
    if IFACE + "Component" not in interfaces or not ask(node, IFACE + "Component", "GrabFocus")[0]:
        raise unsupported("the node does not take the focus")
    return {}


def invoke(q):
    node, interfaces = node_of(q)
    names = []
    if IFACE + "Action" in interfaces:
        names = [action(node, i) for i in range(prop(node, "Action", "NActions"))]
    wanted = q.get("action", "")
    if not names or wanted and wanted not in names:
        raise unsupported(f"the node has no action {wanted!r}; it has {', '.join(names) or 'none'}")
    if not ask(node, IFACE + "Action", "DoAction", "(i)", names.index(wanted) if wanted else 0)[0]:
        raise unsupported("the node did not do it")
    return {}


def value(q):
    node, interfaces = node_of(q)
    text = q.get("value", "")
    if IFACE + "EditableText" in interfaces:
        if not ask(node, IFACE + "EditableText", "SetTextContents", "(s)", text)[0]:
            raise unsupported("the node's text cannot be changed")
        return {}
    if IFACE + "Value" in interfaces:
        try:
            number = float(text)
        except ValueError as e:
            raise Problem("A11Y_INVALID_REQUEST", f"the node's value is a number, not {text!r}") from e
        ask(node, "org.freedesktop.DBus.Properties", "Set", "(ssv)", IFACE + "Value", "CurrentValue", GLib.Variant("d", number))
        return {}
    raise unsupported("the node has no value")


def main():
    global bus
    try:
        q = json.load(sys.stdin)
        bus = connect()
        do = {"tree": tree, "find": find, "focus": focus, "invoke": invoke, "value": value}[q["do"]]
        said = {"answer": do(q)}
    except Problem as e:
        said = {"code": e.code, "error": str(e)}
    except GLib.Error as e:
        said = {"code": "A11Y_INTERNAL", "error": e.message}
    except RecursionError:
        said = {"code": "A11Y_INTERNAL", "error": "the tree is too deep"}
    print(json.dumps(said))


main()

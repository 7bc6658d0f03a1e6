package httpapi

// Line is a route as tests need it.
type Line struct {
	Method, Path, Permission string
	Public, Admin            bool
}

// Lines returns the route table.
func Lines() []Line {
	var out []Line
	for _, rt := range routes() {
		out = append(out, Line{rt.method, rt.path, string(rt.access.permission), rt.access.open, rt.access.admin})
	}
	return out
}

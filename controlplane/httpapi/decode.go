package httpapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"reflect"
	"slices"
	"strings"

	"daytona/api"
	"daytona/internal/fault"
)

// maxBody bounds a JSON body.
const maxBody = 1 << 20

// decodeBody reads the JSON object of a request into target, a pointer to a
// struct of package api. Every problem is named at once, each with its member:
// unlike encoding/json, which stops at the first, matches names in any case
// and turns a null among strings into an empty one. Unknown members are
// ignored. An empty body is an empty object.
func decodeBody(w http.ResponseWriter, r *http.Request, target any) error {
	data, err := readBody(w, r)
	if err != nil {
		return err
	}
	if len(bytes.TrimSpace(data)) == 0 {
		data = []byte("{}")
	}
	if !json.Valid(data) {
		return fault.New(fault.Invalid, "the request body is not valid JSON")
	}
	var p problems
	p.decode(data, reflect.ValueOf(target).Elem(), "")
	return p.err()
}

func readBody(w http.ResponseWriter, r *http.Request) ([]byte, error) {
	data, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	if _, tooLarge := errors.AsType[*http.MaxBytesError](err); tooLarge {
		return nil, fault.New(fault.Invalid, "the request body is larger than %d bytes", maxBody).WithCode("PAYLOAD_TOO_LARGE")
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "the request body could not be read")
	}
	return data, nil
}

// problems collects what is wrong with a request.
type problems []string

func (p *problems) add(path, format string, args ...any) {
	if path == "" {
		path = "the request body"
	}
	*p = append(*p, path+" "+fmt.Sprintf(format, args...))
}

// err returns the problems as one fault, in one string, since old clients show
// only strings well.
func (p problems) err() error {
	if len(p) == 0 {
		return nil
	}
	const most = 20
	if len(p) > most {
		p = append(slices.Clone(p[:most]), fmt.Sprintf("and %d more", len(p)-most))
	}
	return fault.New(fault.Invalid, "%s", strings.Join(p, ", "))
}

// expected says in words what a type needs.
func expected(t reflect.Type) string {
	switch t {
	case reflect.TypeFor[api.Time]():
		return "an ISO-8601 date"
	case reflect.TypeFor[api.OneOrMany]():
		return "a string or an array of strings"
	}
	switch t.Kind() {
	case reflect.Pointer:
		return expected(t.Elem())
	case reflect.String:
		return "a string"
	case reflect.Bool:
		return "a boolean"
	case reflect.Int, reflect.Int64:
		return "an integer"
	case reflect.Float64:
		return "a number"
	case reflect.Slice:
		return "an array"
	case reflect.Map:
		return "an object with string values"
	}
	return "an object"
}

var unmarshaler = reflect.TypeFor[json.Unmarshaler]()

// decode stores raw, which is valid JSON, in v. path names it in problems.
func (p *problems) decode(raw json.RawMessage, v reflect.Value, path string) {
	raw = bytes.TrimSpace(raw)
	t := v.Type()
	if t.Kind() == reflect.Pointer {
		if isNull(raw) {
			return
		}
		v.Set(reflect.New(t.Elem()))
		p.decode(raw, v.Elem(), path)
		return
	}
	if reflect.PointerTo(t).Implements(unmarshaler) {
		if err := v.Addr().Interface().(json.Unmarshaler).UnmarshalJSON(raw); err != nil {
			p.add(path, "must be %s", expected(t))
		}
		return
	}
	ok := false
	switch t.Kind() {
	case reflect.Struct:
		ok = p.decodeStruct(raw, v, path)
	case reflect.Map:
		ok = p.decodeMap(raw, v, path)
	case reflect.Slice:
		ok = p.decodeSlice(raw, v, path)
	case reflect.String:
		var s string
		if ok = raw[0] == '"' && json.Unmarshal(raw, &s) == nil; ok {
			p.checkText(s, path)
			v.SetString(s)
		}
	case reflect.Bool:
		var b bool
		if ok = !isNull(raw) && json.Unmarshal(raw, &b) == nil; ok {
			v.SetBool(b)
		}
	case reflect.Int, reflect.Int64:
		var f float64 // 2.0 and 2e0 are integers too
		ok = !isNull(raw) && json.Unmarshal(raw, &f) == nil && f == math.Trunc(f)
		if ok && math.Abs(f) > math.MaxInt32 {
			p.add(path, "must be between -2147483647 and 2147483647")
		} else if ok {
			v.SetInt(int64(f))
		}
	case reflect.Float64:
		var f float64
		if ok = !isNull(raw) && json.Unmarshal(raw, &f) == nil; ok {
			v.SetFloat(f)
		}
	default:
		panic(fmt.Sprintf("httpapi: %s in a request type", t))
	}
	if !ok {
		p.add(path, "must be %s", expected(t))
	}
}

func (p *problems) decodeStruct(raw json.RawMessage, v reflect.Value, path string) bool {
	var members map[string]json.RawMessage
	if raw[0] != '{' || json.Unmarshal(raw, &members) != nil {
		return false
	}
	for i := range v.NumField() {
		name, optional := jsonName(v.Type().Field(i))
		value, given := members[name]
		if given = given && !isNull(value); given {
			p.decode(value, v.Field(i), join(path, name))
		} else if !optional {
			p.add(join(path, name), "is required")
		}
	}
	return true
}

func (p *problems) decodeMap(raw json.RawMessage, v reflect.Value, path string) bool {
	var entries map[string]json.RawMessage
	if raw[0] != '{' || json.Unmarshal(raw, &entries) != nil {
		return false
	}
	out := reflect.MakeMapWithSize(v.Type(), len(entries))
	for key, value := range entries {
		p.checkText(key, join(path, "a key"))
		element := reflect.New(v.Type().Elem()).Elem()
		p.decode(value, element, join(path, printable(key)))
		out.SetMapIndex(reflect.ValueOf(key), element)
	}
	v.Set(out)
	return true
}

func (p *problems) decodeSlice(raw json.RawMessage, v reflect.Value, path string) bool {
	var items []json.RawMessage
	if raw[0] != '[' || json.Unmarshal(raw, &items) != nil {
		return false
	}
	out := reflect.MakeSlice(v.Type(), len(items), len(items))
	for i, item := range items {
		p.decode(item, out.Index(i), fmt.Sprintf("%s[%d]", path, i))
	}
	v.Set(out)
	return true
}

// checkText refuses what no store, file name or environment can carry.
func (p *problems) checkText(s, path string) {
	if strings.ContainsRune(s, 0) {
		p.add(path, "must not contain a NUL character")
	}
}

// jsonName returns the JSON name of a field and whether it may be absent.
func jsonName(f reflect.StructField) (name string, optional bool) {
	name, flags, _ := strings.Cut(f.Tag.Get("json"), ",")
	return name, strings.Contains(flags, "omit")
}

func join(path, name string) string {
	if path == "" {
		return name
	}
	return path + "." + name
}

func isNull(raw json.RawMessage) bool { return string(raw) == "null" }

// printable shortens a caller's own text for a message.
func printable(s string) string {
	s = strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return '?'
		}
		return r
	}, s)
	if runes := []rune(s); len(runes) > 64 {
		return string(runes[:64]) + "..."
	}
	return s
}

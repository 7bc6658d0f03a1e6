package httpapi

import (
	"net/http"
	"net/url"
	"reflect"
	"strconv"
	"strings"

	"daytona/api"
	"daytona/internal/fault"
)

// bindQuery reads the query of r into target, a pointer to a struct whose
// fields carry a query tag. Pointers stay nil where a parameter is absent or
// empty; slices take repeated parameters. Every problem is named at once.
func bindQuery(r *http.Request, target any) error {
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return fault.New(fault.Invalid, "the query of the request is malformed")
	}
	var p problems
	p.bindStruct(values, reflect.ValueOf(target).Elem())
	return p.err()
}

func (p *problems) bindStruct(values url.Values, v reflect.Value) {
	for i := range v.NumField() {
		if v.Type().Field(i).Anonymous {
			p.bindStruct(values, v.Field(i))
			continue
		}
		name := v.Type().Field(i).Tag.Get("query")
		given := values[name]
		if len(given) == 0 {
			continue
		}
		for _, text := range given {
			p.checkText(text, name)
		}
		field := v.Field(i)
		if field.Kind() == reflect.Slice {
			for _, text := range given {
				element := reflect.New(field.Type().Elem()).Elem()
				p.bind(text, element, name)
				field.Set(reflect.Append(field, element))
			}
			continue
		}
		if given[0] == "" {
			continue
		}
		if field.Kind() == reflect.Pointer {
			field.Set(reflect.New(field.Type().Elem()))
			field = field.Elem()
		}
		p.bind(given[0], field, name)
	}
}

func (p *problems) bind(text string, v reflect.Value, name string) {
	var err error
	if v.Type() == reflect.TypeFor[api.Time]() {
		var t api.Time
		t.Time, err = api.ParseTime(text)
		v.Set(reflect.ValueOf(t))
	} else {
		switch v.Kind() {
		case reflect.String:
			v.SetString(text)
		case reflect.Bool:
			var b bool
			b, err = strconv.ParseBool(strings.ToLower(text))
			v.SetBool(b)
		case reflect.Int:
			var n int64
			n, err = strconv.ParseInt(text, 10, 32)
			v.SetInt(n)
		case reflect.Float64:
			var f float64
			f, err = parseNumber(text)
			v.SetFloat(f)
		default:
			panic("httpapi: " + v.Type().String() + " in a query type")
		}
	}
	if err != nil {
		p.add(name, "must be %s", expected(v.Type()))
	}
}

// parseNumber is ParseFloat without its words for what is no number.
func parseNumber(text string) (float64, error) {
	if strings.ContainsAny(text, "iInNxX_") {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}

// pathInt reads a whole number from the path.
func pathInt(r *http.Request, name string) (int, error) {
	n, err := strconv.ParseInt(r.PathValue(name), 10, 32)
	if err != nil {
		return 0, fault.New(fault.Invalid, "%s must be an integer", name)
	}
	return int(n), nil
}

package charts

import (
	"encoding/json"
	"math"
	"strconv"
	"strings"
	"time"
)

// normalise gives every member of a chart the type that clients check for: a
// number where one is expected, and text for the value of a bar. Nothing is
// dropped because it came in another type; what cannot be converted is left out.
func normalise(chart map[string]any) Chart {
	out := Chart{}
	for name, value := range chart {
		switch name {
		case "type", "png", "x_label", "y_label", "x_scale", "y_scale", "label", "group", "value":
			if s, ok := toText(value); ok {
				out[name] = s
			}
		case "title", "autopct": // these may be null
			out[name] = nil
			if s, ok := toText(value); ok {
				out[name] = s
			}
		case "x_ticks", "y_ticks", "outliers":
			out[name] = toNumbers(value)
		case "x_tick_labels", "y_tick_labels":
			out[name] = toTexts(value)
		case "angle", "radius", "min", "first_quartile", "median", "third_quartile", "max":
			if n, ok := toNumber(value); ok {
				out[name] = n
			}
		case "points":
			out[name] = toPoints(value)
		case "elements":
			out[name] = toElements(value)
		default:
			out[name] = value
		}
	}
	if _, ok := out["type"]; !ok && chart["points"] == nil && chart["label"] == nil {
		out["type"] = "unknown"
	}
	return out
}

func toElements(value any) []Chart {
	list, _ := value.([]any)
	out := make([]Chart, 0, len(list))
	for _, item := range list {
		if element, ok := item.(map[string]any); ok {
			out = append(out, normalise(element))
		}
	}
	return out
}

func toPoints(value any) [][]json.Number {
	list, _ := value.([]any)
	out := make([][]json.Number, 0, len(list))
	for _, item := range list {
		if pair := toNumbers(item); len(pair) == 2 {
			out = append(out, pair)
		}
	}
	return out
}

func toNumbers(value any) []json.Number {
	list, _ := value.([]any)
	out := make([]json.Number, 0, len(list))
	for _, item := range list {
		if n, ok := toNumber(item); ok {
			out = append(out, n)
		}
	}
	return out
}

// toNumber converts numbers, numbers in text, and dates, which become seconds
// since 1970.
func toNumber(value any) (json.Number, bool) {
	switch v := value.(type) {
	case json.Number:
		return v, true
	case bool:
		if v {
			return "1", true
		}
		return "0", true
	case string:
		text := strings.ReplaceAll(strings.TrimSpace(v), "\u2212", "-")
		if n, err := strconv.ParseFloat(text, 64); err == nil && !math.IsNaN(n) && !math.IsInf(n, 0) {
			return shortest(n), true
		}
		for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05", "2006-01-02 15:04:05", time.DateOnly} {
			if t, err := time.Parse(layout, text); err == nil {
				return shortest(float64(t.UnixNano()) / 1e9), true
			}
		}
	}
	return "", false
}

func toTexts(value any) []string {
	list, _ := value.([]any)
	out := make([]string, 0, len(list))
	for _, item := range list {
		s, _ := toText(item) // an empty label keeps the others in place
		out = append(out, s)
	}
	return out
}

// toText converts text and numbers: 10.0 becomes "10", 2.5 becomes "2.5".
func toText(value any) (string, bool) {
	switch v := value.(type) {
	case string:
		return v, true
	case json.Number:
		if n, err := v.Float64(); err == nil {
			return string(shortest(n)), true
		}
		return v.String(), true
	case bool:
		return strconv.FormatBool(v), true
	}
	return "", false
}

func shortest(n float64) json.Number {
	if n == math.Trunc(n) && math.Abs(n) < 1<<53 {
		return json.Number(strconv.FormatFloat(n, 'f', 0, 64))
	}
	return json.Number(strconv.FormatFloat(n, 'g', -1, 64))
}

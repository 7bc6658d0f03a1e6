package api

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"
)

// timeFormat is ISO-8601 in UTC with milliseconds, as JavaScript prints it.
const timeFormat = "2006-01-02T15:04:05.000Z"

// Time is a point in time as it travels in JSON. Its zero value is null.
type Time struct{ time.Time }

// At returns t as a Time.
func At(t time.Time) Time { return Time{t} }

// AtOrNull returns nil for the zero time, which JSON shows as null or leaves out.
func AtOrNull(t time.Time) *Time {
	if t.IsZero() {
		return nil
	}
	return &Time{t}
}

// String returns the text that JSON shows, "" for the zero time.
func (t Time) String() string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format(timeFormat)
}

// MarshalJSON implements json.Marshaler.
func (t Time) MarshalJSON() ([]byte, error) {
	if t.IsZero() {
		return []byte("null"), nil
	}
	return json.Marshal(t.String())
}

// UnmarshalJSON accepts any ISO-8601 date and time with an offset, a bare date,
// and null.
func (t *Time) UnmarshalJSON(data []byte) error {
	if bytes.Equal(data, []byte("null")) {
		*t = Time{}
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return fmt.Errorf("not a date: %w", err)
	}
	parsed, err := ParseTime(text)
	if err != nil {
		return err
	}
	*t = Time{parsed}
	return nil
}

// ParseTime reads an ISO-8601 date and time, or a bare date (midnight UTC).
func ParseTime(text string) (time.Time, error) {
	for _, layout := range []string{time.RFC3339Nano, "2006-01-02T15:04:05.999999999", time.DateOnly} {
		if t, err := time.Parse(layout, text); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("not an ISO-8601 date: %.40q", text)
}

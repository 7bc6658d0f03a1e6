package storage

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"
)

// Destinations for Scan, one for each way in which values are stored.

// timeTo reads milliseconds into a time in UTC.
type timeTo struct{ t *time.Time }

func (d timeTo) Scan(v any) error {
	n, ok := v.(int64)
	if !ok {
		return fmt.Errorf("time stored as %T", v)
	}
	*d.t = time.UnixMilli(n).UTC()
	return nil
}

// timePtrTo is timeTo for a column that may be NULL.
type timePtrTo struct{ t **time.Time }

func (d timePtrTo) Scan(v any) error {
	if v == nil {
		*d.t = nil
		return nil
	}
	*d.t = new(time.Time)
	return timeTo{*d.t}.Scan(v)
}

// jsonTo reads JSON text; NULL leaves the value as it is.
type jsonTo struct{ v any }

func (d jsonTo) Scan(v any) error {
	switch s := v.(type) {
	case nil:
		return nil
	case string:
		return json.Unmarshal([]byte(s), d.v)
	case []byte:
		return json.Unmarshal(s, d.v)
	}
	return fmt.Errorf("JSON stored as %T", v)
}

// textPtrTo reads text that may be NULL.
type textPtrTo struct{ s **string }

func (d textPtrTo) Scan(v any) error {
	var n sql.NullString
	if err := n.Scan(v); err != nil {
		return err
	}
	*d.s = nil
	if n.Valid {
		*d.s = &n.String
	}
	return nil
}

// text is JSON for storing. The values that we store always have one.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return string(b)
}

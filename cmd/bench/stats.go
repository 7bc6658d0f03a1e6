package main

import (
	"math"
	"slices"
	"strconv"
	"time"
)

// Sample is one figure measured several times, in the unit of Unit.
type Sample struct {
	Values []float64 `json:"values"`
	Unit   string    `json:"unit"`
	Failed int       `json:"failed"`
}

// unitBytes is the unit of figures that are shown without decimals.
const unitBytes = "bytes"

// text shows a value of the sample.
func (s *Sample) text(v float64) string {
	if s.Unit == unitBytes {
		return strconv.FormatFloat(v, 'f', 0, 64)
	}
	return strconv.FormatFloat(v, 'f', 1, 64)
}

func (s *Sample) add(d time.Duration) { s.Values = append(s.Values, float64(d.Microseconds())/1000) }

// percentile returns the value below which p of the sorted values lie, by the
// nearest-rank method; NaN when there is none.
func percentile(values []float64, p float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	sorted := slices.Clone(values)
	slices.Sort(sorted)
	rank := int(math.Ceil(p * float64(len(sorted))))
	return sorted[max(rank, 1)-1]
}

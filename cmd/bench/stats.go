package main

import (
	"math"
	"slices"
	"time"
)

// Sample is one figure measured several times, in the unit of Unit.
type Sample struct {
	Values []float64 `json:"values"`
	Unit   string    `json:"unit"`
	Failed int       `json:"failed"`
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

package httpapi

import (
	"slices"
	"strings"
)

const defaultLimit = 100

// pages reads page and limit. Pages beyond what any store can skip to are
// refused, so that page times limit stays a small number.
func (p *problems) pages(page, limit *int, most int) (int, int) {
	const lastPage = 1_000_000
	n := 1
	if page != nil {
		n = *page
	}
	if n < 1 || n > lastPage {
		p.add("page", "must be between 1 and %d", lastPage)
		n = 1
	}
	return n, p.limit(limit, most)
}

func (p *problems) limit(limit *int, most int) int {
	if limit == nil {
		return defaultLimit
	}
	if *limit < 1 || *limit > most {
		p.add("limit", "must be between 1 and %d", most)
		return defaultLimit
	}
	return *limit
}

// order reads the direction of a list; it reports whether it ascends.
func (p *problems) order(order string) bool {
	p.oneOf("order", order, "asc", "desc")
	return order == "asc"
}

// oneOf checks a word that may be left out.
func (p *problems) oneOf(name, value string, allowed ...string) {
	if value != "" && !slices.Contains(allowed, value) {
		p.add(name, "must be one of %s", strings.Join(allowed, ", "))
	}
}

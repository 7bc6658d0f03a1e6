package storage

import (
	"context"
	"database/sql"
	"sync"
)

// maxStatements bounds what is kept: lists with many filters make many texts.
const maxStatements = 256

// statements keeps a pool's compiled SQL. SQLite compiles a text each time it is
// given one, which takes longer than most of our queries run; the PostgreSQL
// driver keeps its own.
type statements struct {
	pool *sql.DB

	mu     sync.Mutex
	byText map[string]*sql.Stmt
}

func newStatements(pool *sql.DB) *statements {
	return &statements{pool: pool, byText: map[string]*sql.Stmt{}}
}

// get returns the statement for a text, or nil when it is not to be kept or
// cannot be compiled: running the text then says why. It lives as long as the
// pool.
func (s *statements) get(ctx context.Context, text string) *sql.Stmt {
	s.mu.Lock()
	st, full := s.byText[text], len(s.byText) >= maxStatements
	s.mu.Unlock()
	if st != nil || full {
		return st
	}
	st, err := s.pool.PrepareContext(ctx, text) //nolint:sqlclosecheck // kept; closed with the pool
	if err != nil {
		return nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if other := s.byText[text]; other != nil { // two at once
		_ = st.Close() //nolint:sqlclosecheck // not to be deferred: this one alone is given up
		return other
	}
	s.byText[text] = st
	return st
}

// kept returns the statement for a text if there is one.
func (s *statements) kept(text string) *sql.Stmt {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.byText[text]
}

// inTx are the statements of one transaction. The writer has one connection,
// which the transaction holds, so what is missing is compiled when it is over.
type inTx struct {
	all     *statements
	tx      *sql.Tx
	missing []string
}

func (s *inTx) get(ctx context.Context, text string) *sql.Stmt {
	if st := s.all.kept(text); st != nil {
		return s.tx.StmtContext(ctx, st)
	}
	s.missing = append(s.missing, text)
	return nil
}

func (s *inTx) learn(ctx context.Context) {
	for _, text := range s.missing {
		s.all.get(ctx, text)
	}
}

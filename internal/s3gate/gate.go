package s3gate

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"daytona/internal/objectstore"
)

// Config is what a Gate needs.
type Config struct {
	Bucket objectstore.Bucket
	Name   string // of the bucket, as clients know it
	Issuer *Issuer
	// Seen is told each key, or start of keys, that a client speaks of. Nil is nobody.
	Seen func(key string)
	// Admit is asked before size bytes are written to a key; its error is the
	// answer. Nil admits everything.
	Admit func(ctx context.Context, key string, size int64) error
	Log   *slog.Logger
	Now   func() time.Time
}

// Gate serves the bucket at /<Name> and below.
type Gate struct{ Config }

// New returns a gate.
func New(c Config) *Gate {
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Seen == nil {
		c.Seen = func(string) {}
	}
	if c.Admit == nil {
		c.Admit = func(context.Context, string, int64) error { return nil }
	}
	return &Gate{c}
}

// request is one that was verified.
type request struct {
	*http.Request
	signed
	key   string // "" is the bucket itself
	query []pair
}

// handler serves one operation.
type handler func(g *Gate, w http.ResponseWriter, r *request) error

// operation is one of those that a gate serves.
type operation struct {
	method string
	object bool
	marks  []string // parameters that make the operation
	may    []string // further parameters
	writes bool
	serve  handler
}

// operations are tried in their order.
var operations = []operation{
	{http.MethodHead, false, nil, nil, false, (*Gate).headBucket},
	{http.MethodGet, false, []string{"location"}, nil, false, (*Gate).location},
	{http.MethodGet, false, nil, []string{"list-type", "prefix", "delimiter", "max-keys", "continuation-token", "start-after", "encoding-type", "fetch-owner", "metadata"}, false, (*Gate).list},
	{http.MethodGet, true, []string{"uploadId"}, []string{"max-parts", "part-number-marker", "encoding-type"}, true, (*Gate).parts},
	{http.MethodGet, true, nil, nil, false, (*Gate).get},
	{http.MethodHead, true, nil, nil, false, (*Gate).head},
	{http.MethodPut, true, []string{"partNumber", "uploadId"}, nil, true, (*Gate).putPart},
	{http.MethodPut, true, nil, nil, true, (*Gate).put},
	{http.MethodPost, true, []string{"uploads"}, nil, true, (*Gate).begin},
	{http.MethodPost, true, []string{"uploadId"}, nil, true, (*Gate).complete},
	{http.MethodDelete, true, []string{"uploadId"}, nil, true, (*Gate).abort},
}

// ServeHTTP implements http.Handler.
func (g *Gate) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	err := g.serve(w, r)
	if err == nil {
		return
	}
	e := s3ErrorOf(err)
	level := slog.LevelDebug
	if e.status >= http.StatusInternalServerError && e != errNotImplemented {
		level = slog.LevelWarn
	}
	g.Log.Log(r.Context(), level, "object storage refuses", "method", r.Method, "path", r.URL.Path, "code", e.code, "error", err)
	if r.Method == http.MethodPut || r.Method == http.MethodPost {
		w.Header().Set("Connection", "close") // what is left of the body is not read
	}
	e.write(w, r)
}

func (g *Gate) serve(w http.ResponseWriter, r *http.Request) error {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	s, err := g.Issuer.verify(r, g.Now())
	if err != nil {
		return err
	}
	if bucket != g.Name {
		return errDenied
	}
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return errBadRequest
	}
	req := &request{Request: r, signed: s, key: key, query: query}
	op, ok := req.operation()
	switch {
	case !ok:
		return errDenied
	case key != "" && !s.grant.reaches(key), op.writes && s.grant.ReadOnly:
		return errDenied
	}
	if key != "" {
		if err := objectstore.CheckKey(key); err != nil {
			return err
		}
		g.Seen(key)
	}
	return op.serve(g, w, req)
}

// operation says what a request asks for. Parameters and headers that would
// change the meaning of an operation are not passed over in silence.
func (r *request) operation() (operation, bool) {
	if r.Header.Get("X-Amz-Copy-Source") != "" {
		return operation{}, false
	}
	for _, op := range operations {
		if op.method != r.Method || op.object != (r.key != "") || !slices.ContainsFunc(r.query, func(p pair) bool { return len(op.marks) == 0 || p.name == op.marks[0] }) && len(op.marks) > 0 {
			continue
		}
		return op, r.onlyHas(op)
	}
	return operation{}, false
}

func (r *request) onlyHas(op operation) bool {
	seen := map[string]bool{}
	for _, p := range r.query {
		known := slices.Contains(op.marks, p.name) || slices.Contains(op.may, p.name) || p.name == "x-id" ||
			strings.HasPrefix(p.name, "X-Amz-")
		if !known || seen[p.name] {
			return false
		}
		seen[p.name] = true
	}
	for _, mark := range op.marks {
		if !seen[mark] {
			return false
		}
	}
	return true
}

func (r *request) param(name string) string { return first(r.query, name) }

func (g *Gate) headBucket(w http.ResponseWriter, r *request) error {
	if err := g.Bucket.Check(r.Context()); err != nil {
		return err
	}
	w.Header().Set("X-Amz-Bucket-Region", "us-east-1")
	w.WriteHeader(http.StatusOK)
	return nil
}

// conditions are headers whose neglect would be a wrong answer.
var conditions = []string{"If-Match", "If-Unmodified-Since"}

func (g *Gate) get(w http.ResponseWriter, r *request) error {
	for _, name := range conditions {
		if r.Header.Get(name) != "" {
			return errNotImplemented
		}
	}
	limit, err := parseRange(r.Header.Get("Range"))
	if err != nil {
		return err
	}
	content, o, err := g.Bucket.Get(r.Context(), r.key, limit)
	if err != nil {
		return err
	}
	defer content.Close()
	describe(w.Header(), o)
	status, length := http.StatusOK, o.Size
	if limit != nil {
		status = http.StatusPartialContent
		from, to := limit.First, limit.Last
		if from < 0 {
			from, to = max(0, o.Size-to), -1
		}
		if to < 0 || to >= o.Size {
			to = o.Size - 1
		}
		length = to - from + 1
		w.Header().Set("Content-Range", "bytes "+strconv.FormatInt(from, 10)+"-"+strconv.FormatInt(to, 10)+"/"+strconv.FormatInt(o.Size, 10))
	}
	w.Header().Set("Content-Length", strconv.FormatInt(length, 10))
	w.WriteHeader(status)
	if _, err := io.Copy(w, content); err != nil {
		g.Log.DebugContext(r.Context(), "an object was not sent to its end", "error", err)
		panic(http.ErrAbortHandler) // the client must not take it for the whole
	}
	return nil
}

func (g *Gate) head(w http.ResponseWriter, r *request) error {
	o, err := g.Bucket.Stat(r.Context(), r.key)
	if err != nil {
		return err
	}
	describe(w.Header(), o)
	w.Header().Set("Content-Length", strconv.FormatInt(o.Size, 10))
	w.WriteHeader(http.StatusOK)
	return nil
}

func describe(h http.Header, o objectstore.Object) {
	h.Set("ETag", o.ETag)
	h.Set("Last-Modified", o.Modified.UTC().Format(http.TimeFormat))
	h.Set("Accept-Ranges", "bytes")
	h.Set("Content-Type", "application/octet-stream")
	if o.ContentType != "" {
		h.Set("Content-Type", o.ContentType)
	}
	h.Set("X-Content-Type-Options", "nosniff") // what somebody uploaded is no page of ours
	h.Set("Content-Security-Policy", "sandbox")
}

// parseRange understands one range of bytes; what is not one is no limit.
func parseRange(text string) (*objectstore.Range, error) {
	if text == "" {
		return nil, nil
	}
	from, to, ok := strings.Cut(strings.TrimPrefix(text, "bytes="), "-")
	if !ok || !strings.HasPrefix(text, "bytes=") || strings.Contains(text, ",") {
		return nil, errRange
	}
	r := &objectstore.Range{First: -1, Last: -1}
	var err1, err2 error
	if from != "" {
		r.First, err1 = strconv.ParseInt(from, 10, 64)
	}
	if to != "" {
		r.Last, err2 = strconv.ParseInt(to, 10, 64)
	}
	if errors.Join(err1, err2) != nil || from == "" && to == "" || r.First < 0 && from != "" || r.Last < 0 && to != "" || from == "" && r.Last == 0 {
		return nil, errRange
	}
	if from != "" && to != "" && r.Last < r.First {
		return nil, errRange
	}
	return r, nil
}

func (g *Gate) put(w http.ResponseWriter, r *request) error {
	if r.Header.Get("If-None-Match") != "" || r.Header.Get("If-Match") != "" {
		return errNotImplemented
	}
	content, size, err := bodyOf(w, r.Request, r.signed, objectstore.MaxPart)
	if err != nil {
		return err
	}
	if err := g.Admit(r.Context(), r.key, size); err != nil {
		return err
	}
	o, err := g.Bucket.Put(r.Context(), r.key, content, size, contentType(r))
	if err != nil {
		return err
	}
	w.Header().Set("ETag", o.ETag)
	w.WriteHeader(http.StatusOK)
	return nil
}

// contentType passes on what the client says, which is only ever answered
// together with what keeps browsers from believing it.
func contentType(r *request) string {
	if t := r.Header.Get("Content-Type"); len(t) <= 255 {
		return t
	}
	return ""
}

package proxy

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"net/url"
	"strings"

	"daytona/api/proxyapi"
	"daytona/internal/fault"
	"daytona/proxy/activity"
)

// recordings serves the dashboard of a desktop's recordings: a page, the films,
// and a list for programs. The toolbox keeps them; nothing listens for this in
// the sandbox.
type recordings struct{ proxy *Proxy }

// recording is what the dashboard shows of one.
type recording struct {
	ID              string  `json:"id"`
	FileName        string  `json:"fileName"`
	StartTime       string  `json:"startTime"`
	Status          string  `json:"status"` // recording, completed, failed
	DurationSeconds float64 `json:"durationSeconds"`
	SizeBytes       int64   `json:"sizeBytes"`
}

// maxRecordingList bounds what a sandbox may say.
const maxRecordingList = 8 << 20

func (d *recordings) serve(w http.ResponseWriter, r *http.Request, to target, pass proxyapi.Pass, m *activity.Meter) {
	note(m)
	box := &toolboxClient{d.proxy.Plane, pass.SandboxID}
	file, video := strings.CutPrefix(r.URL.Path, "/videos/")
	read := r.Method == http.MethodGet || r.Method == http.MethodHead
	var err error
	switch {
	case r.URL.Path == "/" && read && to.origin == "":
		err = fault.New(fault.Unprocessable, "The recordings have an address of their own: %s", d.proxy.Template.URL(to.port, to.ref))
	case r.URL.Path == "/" && read:
		err = d.page(w, r, box)
	case r.URL.Path == "/" && r.Method == http.MethodPost:
		err = d.form(w, r, box)
	case video && read:
		err = d.video(w, r, box, file)
	case r.URL.Path == "/api/recordings" && read:
		err = d.list(w, r, box)
	case r.URL.Path == "/api/recordings" && r.Method == http.MethodDelete:
		err = d.remove(w, r, box)
	default:
		err = fault.New(fault.NotFound, "not found: the recordings of the sandbox's desktop are at /")
	}
	if err != nil {
		d.proxy.fail(w, r, err)
	}
}

// page shows the films, and a form by which they are deleted.
func (d *recordings) page(w http.ResponseWriter, r *http.Request, box *toolboxClient) error {
	list, _, err := box.recordings(r.Context())
	if err != nil {
		return err
	}
	SecurePage(w.Header())
	w.Header().Set("Content-Security-Policy", "default-src 'none'; style-src 'unsafe-inline'; media-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'")
	if err := pages.ExecuteTemplate(w, "recordings.html", list); err != nil {
		d.proxy.log.Debug("page not sent", "page", "recordings.html", "error", err)
	}
	return nil
}

// form deletes one film. A page of another origin gets no further than the
// credentials.
func (d *recordings) form(w http.ResponseWriter, r *http.Request, box *toolboxClient) error {
	r.Body = http.MaxBytesReader(w, r.Body, 64<<10)
	if err := r.ParseForm(); err != nil {
		return fault.Wrap(err, fault.Invalid, "the form cannot be read")
	}
	for _, id := range r.PostForm["id"] {
		if err := box.removeRecording(r.Context(), id); err != nil {
			return err
		}
	}
	http.Redirect(w, r, "/", http.StatusSeeOther)
	return nil
}

func (d *recordings) list(w http.ResponseWriter, r *http.Request, box *toolboxClient) error {
	_, data, err := box.recordings(r.Context())
	if err != nil {
		return err
	}
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.Header().Set("Cache-Control", "no-store")
	_, err = w.Write(data)
	return err
}

// remove deletes the films {"ids": […]} and answers which are gone and why
// others are not.
func (d *recordings) remove(w http.ResponseWriter, r *http.Request, box *toolboxClient) error {
	var in struct {
		IDs []string `json:"ids"`
	}
	if err := json.NewDecoder(http.MaxBytesReader(w, r.Body, 64<<10)).Decode(&in); err != nil || len(in.IDs) == 0 {
		return fault.New(fault.Invalid, `the body must be {"ids": ["…"]}`)
	}
	out := struct {
		Deleted []string          `json:"deleted"`
		Errors  map[string]string `json:"errors,omitempty"`
	}{Deleted: []string{}}
	for _, id := range in.IDs {
		err := box.removeRecording(r.Context(), id)
		if err == nil {
			out.Deleted = append(out.Deleted, id)
			continue
		}
		f, ok := asFault(err)
		if !ok {
			return err
		}
		if out.Errors == nil {
			out.Errors = map[string]string{}
		}
		out.Errors[id] = f.Text
	}
	writeJSON(w, http.StatusOK, out)
	return nil
}

// video sends a film, or the part of it that a player asks for.
func (d *recordings) video(w http.ResponseWriter, r *http.Request, box *toolboxClient, file string) error {
	list, _, err := box.recordings(r.Context())
	if err != nil {
		return err
	}
	id := ""
	for _, rec := range list {
		if rec.FileName == file {
			id = rec.ID
		}
	}
	if id == "" {
		return fault.New(fault.NotFound, "no recording is called %q", file)
	}
	res, err := box.do(r.Context(), r.Method, "/computeruse/recordings/"+url.PathEscape(id)+"/download", r.Header, "Range", "If-Range", "If-Modified-Since")
	if err != nil {
		return err
	}
	defer res.Body.Close()
	switch res.StatusCode {
	case http.StatusOK, http.StatusPartialContent, http.StatusNotModified, http.StatusRequestedRangeNotSatisfiable:
	default:
		return refusal(res)
	}
	h := w.Header()
	for _, name := range []string{"Content-Length", "Content-Range", "Accept-Ranges", "Last-Modified"} {
		if v := res.Header.Get(name); v != "" {
			h.Set(name, v)
		}
	}
	// It comes from the sandbox: a browser must take it for nothing but a film.
	h.Set("Content-Type", "video/mp4")
	h.Set("Content-Security-Policy", "default-src 'none'; media-src 'self'; sandbox")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-cache")
	w.WriteHeader(res.StatusCode)
	_, _ = io.Copy(w, res.Body) // the player may have gone, or the sandbox
	return nil
}

// recordings lists what the toolbox keeps, also as it said it.
func (c *toolboxClient) recordings(ctx context.Context) ([]recording, []byte, error) {
	res, err := c.do(ctx, http.MethodGet, "/computeruse/recordings", nil)
	if err != nil {
		return nil, nil, err
	}
	defer res.Body.Close()
	if res.StatusCode != http.StatusOK {
		return nil, nil, refusal(res)
	}
	data, err := io.ReadAll(io.LimitReader(res.Body, maxRecordingList))
	var out struct{ Recordings []recording }
	if err = errors.Join(err, json.Unmarshal(data, &out)); err != nil {
		return nil, nil, fault.Wrap(err, fault.Upstream, "The sandbox's list of recordings cannot be read")
	}
	return out.Recordings, data, nil
}

func (c *toolboxClient) removeRecording(ctx context.Context, id string) error {
	res, err := c.do(ctx, http.MethodDelete, "/computeruse/recordings/"+url.PathEscape(id), nil)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		return refusal(res)
	}
	return nil
}

// do sends a request without a body, with the named ones of the given headers.
func (c *toolboxClient) do(ctx context.Context, method, path string, from http.Header, names ...string) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, "http://toolbox"+path, nil)
	if err != nil {
		return nil, err
	}
	for _, name := range names {
		if v := from.Get(name); v != "" {
			req.Header.Set(name, v)
		}
	}
	return c.RoundTrip(req)
}

// refusal is what the toolbox said against a request.
func refusal(res *http.Response) error {
	var said struct{ Message, Error, Solution string }
	_ = json.NewDecoder(io.LimitReader(res.Body, 64<<10)).Decode(&said) // what there is of it
	text := said.Message
	if text == "" {
		text = said.Error
	}
	if text == "" {
		text = "The sandbox answers " + res.Status
	}
	if said.Solution != "" {
		text += ". " + said.Solution
	}
	kind := fault.Upstream
	switch res.StatusCode {
	case http.StatusBadRequest:
		kind = fault.Invalid
	case http.StatusNotFound:
		kind = fault.NotFound
	case http.StatusServiceUnavailable:
		kind = fault.Unavailable
	}
	return fault.New(kind, "%s", text)
}

package objectstore

import (
	"bytes"
	"context"
	"errors"
	"io"
	"time"

	"daytona/internal/fault"
)

// PartSize is what Write cuts streams into: 10000 of them are 156 GiB.
const PartSize = 16 << 20

// Write keeps a stream of unknown length under key: in one piece when it is
// small, else in parts. An upload that breaks off leaves nothing to be seen; see
// Resume for one that shall go on.
func Write(ctx context.Context, b Bucket, key string, body io.Reader, contentType string) (Object, error) {
	first := make([]byte, PartSize)
	n, err := io.ReadFull(body, first)
	switch {
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return b.Put(ctx, key, bytes.NewReader(first[:n]), int64(n), contentType)
	case err != nil:
		return Object{}, err
	}
	id, err := b.Begin(ctx, key, contentType)
	if err != nil {
		return Object{}, err
	}
	o, err := finish(ctx, b, key, id, nil, io.MultiReader(bytes.NewReader(first), body))
	if err != nil {
		tidy, cancel := context.WithTimeout(context.WithoutCancel(ctx), 10*time.Second)
		defer cancel()
		return Object{}, errors.Join(err, b.Abort(tidy, key, id))
	}
	return o, nil
}

// Resume goes on with an upload that Begin started and that Resume cut into
// parts before it was broken off. open gives the stream from a position on. What
// is there already is not sent again. When it fails the upload stays, so that
// it can be resumed once more.
func Resume(ctx context.Context, b Bucket, key, uploadID string, open func(offset int64) (io.ReadCloser, error)) (Object, error) {
	have, err := b.Parts(ctx, key, uploadID)
	if err != nil {
		return Object{}, err
	}
	// Only an unbroken row of whole parts counts.
	for i, p := range have {
		if p.Number != i+1 || p.Size != PartSize {
			have = have[:i]
			break
		}
	}
	body, err := open(int64(len(have)) * PartSize)
	if err != nil {
		return Object{}, err
	}
	defer body.Close()
	return finish(ctx, b, key, uploadID, have, body)
}

func finish(ctx context.Context, b Bucket, key, id string, parts []Part, body io.Reader) (Object, error) {
	buffer := make([]byte, PartSize)
	for {
		n, err := io.ReadFull(body, buffer)
		if n > 0 || len(parts) == 0 {
			if len(parts) == MaxParts {
				return Object{}, fault.New(fault.Invalid, "the stream is longer than %d parts of %d bytes", MaxParts, PartSize)
			}
			p, err := b.PutPart(ctx, key, id, len(parts)+1, bytes.NewReader(buffer[:n]), int64(n))
			if err != nil {
				return Object{}, err
			}
			parts = append(parts, p)
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return b.Complete(ctx, key, id, parts)
		}
		if err != nil {
			return Object{}, err
		}
	}
}

// DeletePrefix removes every object and every upload under way below a prefix,
// which must end in "/".
func DeletePrefix(ctx context.Context, b Bucket, prefix string) error {
	if err := CheckKey(prefix); err != nil || prefix[len(prefix)-1] != '/' {
		return fault.New(fault.Invalid, "%q is not a prefix that ends in /", prefix)
	}
	uploads, err := b.Uploads(ctx, prefix)
	if err != nil {
		return err
	}
	for _, u := range uploads {
		if err := b.Abort(ctx, u.Key, u.ID); err != nil {
			return err
		}
	}
	for {
		page, err := b.List(ctx, Query{Prefix: prefix})
		if err != nil {
			return err
		}
		// From the last one on: the marker of a folder goes after what is in it.
		for i := len(page.Objects) - 1; i >= 0; i-- {
			if err := b.Delete(ctx, page.Objects[i].Key); err != nil {
				return err
			}
		}
		if page.Next == "" {
			return nil
		}
	}
}

// ExpireUploads aborts uploads below a prefix that were begun before a time:
// clients that went away leave them.
func ExpireUploads(ctx context.Context, b Bucket, prefix string, before time.Time) error {
	uploads, err := b.Uploads(ctx, prefix)
	if err != nil {
		return err
	}
	for _, u := range uploads {
		if u.Begun.Before(before) {
			if err := b.Abort(ctx, u.Key, u.ID); err != nil {
				return err
			}
		}
	}
	return nil
}

var errShort = errors.New("the body is shorter than its length")

// exactly reads size bytes and fails where r ends before. A short body must not
// become an object.
func exactly(r io.Reader, size int64) io.Reader { return &exact{r: r, left: size} }

type exact struct {
	r    io.Reader
	left int64
}

func (e *exact) Read(p []byte) (int, error) {
	if e.left == 0 {
		return 0, io.EOF
	}
	if int64(len(p)) > e.left {
		p = p[:e.left]
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case errors.Is(err, io.EOF) && e.left > 0:
		err = errShort
	case err != nil && !errors.Is(err, io.EOF):
		n = 0 // a store that got every byte would keep the object
	}
	return n, err
}

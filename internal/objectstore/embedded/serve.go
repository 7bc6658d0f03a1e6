// Package embedded runs an S3 of our own over a directory: versitygw, in a
// process of its own that comes with the first request and ends with its parent.
//
// It is a process of its own because the library changes the working directory
// of the process that it is in, allows one instance in each, and would cost the
// server its memory also where nobody stores anything.
package embedded

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/pkg/xattr"
	"github.com/versity/versitygw/backend"
	"github.com/versity/versitygw/backend/meta"
	"github.com/versity/versitygw/backend/posix"
	"github.com/versity/versitygw/embedgw"
	"github.com/versity/versitygw/s3api"
	"github.com/versity/versitygw/s3response"

	"daytona/internal/atomicfile"
)

// order is what a parent tells its child, as a line of JSON on its standard input.
type order struct {
	Dir     string `json:"dir"`
	Address string `json:"address"` // socket, "@name" is an abstract one; or host:port
	Region  string `json:"region"`
	Key     string `json:"key"`
	Secret  string `json:"secret"`
}

// ready is the line that the child answers once it serves.
const ready = "ready"

// Serve is the life of the child: it serves as the order on r says, writes
// "ready" to w, and ends when r does.
func Serve(ctx context.Context, r io.Reader, w io.Writer) error {
	input := bufio.NewReader(r)
	line, err := input.ReadBytes('\n')
	if err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	var o order
	if err := json.Unmarshal(line, &o); err != nil {
		return fmt.Errorf("read what to serve: %w", err)
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		_, _ = io.Copy(io.Discard, input) // the parent never writes again: this ends with it
		cancel()
	}()
	store, err := open(o.Dir)
	if err != nil {
		return err
	}
	return embedgw.RunVersityGW(ctx, store, &embedgw.Config{
		RootUserAccess: o.Key, RootUserSecret: o.Secret, Region: o.Region, Ports: []string{o.Address},
		MaxConnections: 4096, MaxRequests: 1024, MultipartMaxParts: 10000,
		KeepAlive: true, Quiet: true, DisableACLs: true,
		S3Options: []s3api.Option{s3api.WithOnListen(func() { fmt.Fprintln(w, ready) })},
	})
}

// The folders of a store.
const (
	bucketsDir = "buckets"
	sidecarDir = "attributes" // where the file system keeps none
)

func open(dir string) (backend.Backend, error) {
	root := filepath.Join(dir, bucketsDir)
	if err := os.MkdirAll(root, 0o700); err != nil {
		return nil, err
	}
	options := posix.PosixOpts{}
	options.SetNewDirPerm(0o700)
	options.SetNewFilePerm(0o600)
	var attributes meta.MetadataStorer = meta.XattrMeta{}
	sidecar := filepath.Join(dir, sidecarDir)
	if _, err := os.Stat(sidecar); err == nil || !keepsAttributes(root) {
		if err := os.MkdirAll(sidecar, 0o700); err != nil {
			return nil, err
		}
		beside, err := meta.NewSideCar(sidecar)
		if err != nil {
			return nil, err
		}
		attributes = beside
	}
	store, err := posix.New(root, attributes, options)
	if err != nil {
		return nil, err
	}
	return &durable{Backend: store, root: root}, nil
}

// keepsAttributes says whether the file system keeps attributes of files.
func keepsAttributes(dir string) bool {
	const probe = "user.daytona.probe"
	if err := xattr.Set(dir, probe, []byte("1")); err != nil {
		return false
	}
	_ = xattr.Remove(dir, probe)
	return true
}

// durable answers only when what was stored survives a power cut, which the
// library alone does not see to.
type durable struct {
	backend.Backend
	root string
}

func (d *durable) PutObject(ctx context.Context, in s3response.PutObjectInput) (s3response.PutObjectOutput, error) {
	out, err := d.Backend.PutObject(ctx, in)
	if err == nil {
		err = d.sync(deref(in.Bucket), deref(in.Key))
	}
	return out, err
}

func (d *durable) CompleteMultipartUpload(ctx context.Context, in *s3.CompleteMultipartUploadInput) (s3response.CompleteMultipartUploadResult, string, error) {
	out, version, err := d.Backend.CompleteMultipartUpload(ctx, in)
	if err == nil {
		err = d.sync(deref(in.Bucket), deref(in.Key))
	}
	return out, version, err
}

// sync writes an object and the folders above it to the disk. One that was
// deleted meanwhile needs nothing.
func (d *durable) sync(bucket, key string) error {
	path := filepath.Join(d.root, bucket, filepath.FromSlash(key))
	for path != filepath.Dir(d.root) {
		if err := atomicfile.SyncDir(path); err != nil && !os.IsNotExist(err) {
			return err
		}
		path = filepath.Dir(path)
	}
	return nil
}

func deref(s *string) string {
	if s == nil {
		return ""
	}
	return *s
}

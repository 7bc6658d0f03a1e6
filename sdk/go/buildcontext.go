package daytona

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/moby/patternmatcher"
	"github.com/moby/patternmatcher/ignorefile"

	"daytona/api"
)

// storageAccess lets build contexts be put into the server's object storage.
type storageAccess struct {
	AccessKey      string `json:"accessKey"`
	Secret         string `json:"secret"`
	SessionToken   string `json:"sessionToken"`
	StorageURL     string `json:"storageUrl"`
	OrganizationID string `json:"organizationId"`
	Bucket         string `json:"bucket"`
	Region         string `json:"region"`
}

// upload sends the files that an image copies, and returns what to build.
func (c *Client) upload(ctx context.Context, img *Image) (*api.CreateBuildInfo, error) {
	if err := img.check(); err != nil {
		return nil, err
	}
	build := &api.CreateBuildInfo{DockerfileContent: img.Dockerfile(), ContextHashes: img.hashes}
	if len(img.contexts) == 0 {
		return build, nil
	}
	access, err := getAs[storageAccess](ctx, c, c.path("object-storage", "push-access"), nil)
	if err != nil {
		return nil, fmt.Errorf("daytona: where to put the build's files: %w", err)
	}
	if access.Region == "" {
		access.Region = "us-east-1"
	}
	for _, entry := range img.contexts {
		hash, err := c.uploadContext(ctx, access, entry)
		if err != nil {
			return nil, fmt.Errorf("daytona: sending %s: %w", entry.local, err)
		}
		build.ContextHashes = append(build.ContextHashes, hash)
	}
	return build, nil
}

// uploadContext packs an entry, and sends it unless the storage has it: its
// name is the hash of what is in it.
func (c *Client) uploadContext(ctx context.Context, access storageAccess, entry contextEntry) (string, error) {
	file, err := os.CreateTemp("", "daytona-context-*.tar")
	if err != nil {
		return "", err
	}
	defer os.Remove(file.Name())
	defer file.Close()
	sum := sha256.New()
	if err := pack(io.MultiWriter(file, sum), entry); err != nil {
		return "", err
	}
	hash := hex.EncodeToString(sum.Sum(nil))
	size, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return "", err
	}
	target := join(strings.TrimRight(access.StorageURL, "/"), access.Bucket, access.OrganizationID, hash, "context.tar")
	status, err := c.storage(ctx, access, http.MethodHead, target, nil, 0, emptyHash)
	if err == nil && status == http.StatusOK {
		return hash, nil
	}
	for attempt := 0; ; attempt++ {
		if _, err := file.Seek(0, io.SeekStart); err != nil {
			return "", err
		}
		status, err = c.storage(ctx, access, http.MethodPut, target, file, size, hash)
		if err == nil && status < 300 {
			return hash, nil
		}
		if err == nil {
			err = fmt.Errorf("the object storage answered %d %s", status, http.StatusText(status))
		}
		if attempt >= c.retries || ctx.Err() != nil || status >= 400 && status < 500 {
			return "", err
		}
		if err := sleep(ctx, pauseAfter(attempt, err)); err != nil {
			return "", err
		}
	}
}

const emptyHash = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

// storage sends one signed request to the object storage.
func (c *Client) storage(ctx context.Context, access storageAccess, method, target string, body io.Reader, size int64, hash string) (int, error) {
	if body != nil {
		body = io.NopCloser(body) // the file is used again
	}
	req, err := http.NewRequestWithContext(ctx, method, target, body)
	if err != nil {
		return 0, err
	}
	req.ContentLength = size
	req.Header.Set("X-Amz-Content-Sha256", hash)
	if method == http.MethodPut {
		req.Header.Set("Content-Type", "application/x-tar")
	}
	keys := aws.Credentials{AccessKeyID: access.AccessKey, SecretAccessKey: access.Secret, SessionToken: access.SessionToken}
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(ctx, keys, req, hash, "s3", access.Region, time.Now()); err != nil {
		return 0, err
	}
	res, err := c.http.Do(req)
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, maxErrorBody))
	return res.StatusCode, nil
}

// pack writes an entry as a tar archive. The same files make the same bytes:
// times and owners are left out.
func pack(to io.Writer, entry contextEntry) error {
	var ignored *patternmatcher.PatternMatcher
	if entry.ignore != "" {
		file, err := os.Open(entry.ignore)
		if err != nil {
			return err
		}
		patterns, err := ignorefile.ReadAll(file)
		_ = file.Close()
		if err == nil {
			ignored, err = patternmatcher.New(patterns)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", entry.ignore, err)
		}
	}
	out := tar.NewWriter(to)
	err := filepath.WalkDir(entry.local, func(name string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if ignored != nil {
			rel, err := filepath.Rel(entry.root, name)
			if err != nil {
				return err
			}
			drop := false
			if rel != "." {
				if drop, err = ignored.MatchesOrParentMatches(filepath.ToSlash(rel)); err != nil {
					return err
				}
			}
			switch {
			case drop && d.IsDir() && !ignored.Exclusions():
				return filepath.SkipDir
			case drop:
				return nil
			}
		}
		return packOne(out, entry, name)
	})
	if err != nil {
		return err
	}
	return out.Close()
}

func packOne(out *tar.Writer, entry contextEntry, name string) error {
	rel, err := filepath.Rel(entry.local, name)
	if err != nil {
		return err
	}
	at := path.Join(entry.archive, filepath.ToSlash(rel))
	info, err := os.Lstat(name)
	if name == entry.local {
		info, err = os.Stat(name) // what was named is meant, not the link to it
	}
	if err != nil {
		return err
	}
	mode := info.Mode()
	if !mode.IsRegular() && !mode.IsDir() && mode&fs.ModeSymlink == 0 {
		return nil // sockets and pipes are nothing to copy
	}
	link := ""
	if mode&fs.ModeSymlink != 0 {
		if link, err = os.Readlink(name); err != nil {
			return err
		}
	}
	header, err := tar.FileInfoHeader(info, link)
	if err != nil {
		return err
	}
	if at == "." {
		return nil
	}
	*header = tar.Header{Typeflag: header.Typeflag, Name: at, Linkname: link, Size: header.Size, Mode: header.Mode & 0o777, Format: tar.FormatPAX}
	if mode.IsDir() {
		header.Name += "/"
	}
	if err := out.WriteHeader(header); err != nil || !mode.IsRegular() {
		return err
	}
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	n, err := io.Copy(out, io.LimitReader(file, header.Size))
	if err == nil && n != header.Size {
		err = errors.New(name + " changed while it was read")
	}
	return err
}

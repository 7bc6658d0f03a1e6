package s3gate_test

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"daytona/internal/fault"
	"daytona/internal/objectstore"
	"daytona/internal/objectstore/embedded"
	"daytona/internal/s3gate"
)

const childVariable = "DAYTONA_TEST_OBJECT_STORE"

func TestMain(m *testing.M) {
	if os.Getenv(childVariable) != "" {
		if err := embedded.Serve(context.Background(), os.Stdin, os.Stdout); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		return
	}
	os.Exit(m.Run())
}

const bucketName = "builds"

type world struct {
	issuer *s3gate.Issuer
	bucket objectstore.Bucket
	origin *url.URL
	now    func() time.Time
	client *http.Client
}

func newWorld(t *testing.T, secure bool) *world {
	t.Helper()
	store := embedded.New(embedded.Config{Dir: t.TempDir(), Command: []string{os.Args[0]}, Env: []string{childVariable + "=1"}, Log: slog.New(slog.DiscardHandler)})
	w := &world{issuer: s3gate.NewIssuer([]byte("a secret of thirty-two bytes ...")), bucket: store.Bucket("kept"), now: time.Now}
	gate := s3gate.New(s3gate.Config{Bucket: w.bucket, Name: bucketName, Issuer: w.issuer, Log: slog.New(slog.DiscardHandler), Now: func() time.Time { return w.now() }})
	server := httptest.NewUnstartedServer(gate)
	if secure {
		server.StartTLS()
	} else {
		server.Start()
	}
	t.Cleanup(func() { server.Close(); _ = store.Close() })
	origin, err := url.Parse(server.URL)
	if err != nil {
		t.Fatal(err)
	}
	w.origin, w.client = origin, server.Client()
	return w
}

func (w *world) grant(t *testing.T, g s3gate.Grant) s3gate.Credentials {
	t.Helper()
	if g.Expires.IsZero() {
		g.Expires = time.Now().Add(time.Hour)
	}
	c, err := w.issuer.Issue(g)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// s3 is Amazon's own client with credentials for an organization.
func (w *world) s3(c s3gate.Credentials, options ...func(*s3.Options)) *s3.Client {
	return s3.New(s3.Options{
		Region: "eu-central-7", BaseEndpoint: aws.String(w.origin.String()), UsePathStyle: true, HTTPClient: w.client,
		RetryMaxAttempts: 1,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}, nil
		}),
	}, options...)
}

func code(err error) string {
	var known interface{ ErrorCode() string }
	if errorsAs(err, &known) {
		return known.ErrorCode()
	}
	return fmt.Sprint(err)
}

func errorsAs(err error, target *interface{ ErrorCode() string }) bool {
	for err != nil {
		if k, ok := err.(interface{ ErrorCode() string }); ok {
			*target = k
			return true
		}
		u, ok := err.(interface{ Unwrap() error })
		if !ok {
			return false
		}
		err = u.Unwrap()
	}
	return false
}

// What a client of Amazon's does with one's own prefix, over HTTP with signed
// hashes and over TLS with checksums behind the body.
func TestClient(t *testing.T) {
	for _, secure := range []bool{false, true} {
		t.Run(fmt.Sprint("tls ", secure), func(t *testing.T) {
			w := newWorld(t, secure)
			ctx := t.Context()
			client := w.s3(w.grant(t, s3gate.Grant{Prefix: "org-a/"}))
			key := "org-a/h a+sh/context.tar"
			put := func(body io.Reader, algorithm types.ChecksumAlgorithm) {
				t.Helper()
				if _, err := client.PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: &key, Body: body, ChecksumAlgorithm: algorithm, ContentType: aws.String("application/x-tar")}); err != nil {
					t.Fatalf("%s: %v", algorithm, err)
				}
			}
			for _, algorithm := range []types.ChecksumAlgorithm{"", types.ChecksumAlgorithmCrc32, types.ChecksumAlgorithmCrc32c, types.ChecksumAlgorithmSha1, types.ChecksumAlgorithmSha256, types.ChecksumAlgorithmCrc64nvme} {
				put(strings.NewReader("content "+string(algorithm)), algorithm)
				out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key})
				if err != nil {
					t.Fatal(err)
				}
				data, _ := io.ReadAll(out.Body)
				if string(data) != "content "+string(algorithm) || aws.ToString(out.ContentType) != "application/x-tar" {
					t.Errorf("%s: got %q", algorithm, data)
				}
			}
			put(bytes.NewReader(make([]byte, 300_000)), "")
			head, err := client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: aws.String(bucketName), Key: &key})
			if err != nil || aws.ToInt64(head.ContentLength) != 300_000 {
				t.Errorf("head: %+v, %v", head, err)
			}
			part, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key, Range: aws.String("bytes=299990-")})
			if err != nil || aws.ToInt64(part.ContentLength) != 10 || aws.ToString(part.ContentRange) != "bytes 299990-299999/300000" {
				t.Errorf("range: %+v, %v", part, err)
			}
			for _, prefix := range []string{"org-a", "org-a/", "org-a/h a+sh/"} {
				list, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName), Prefix: &prefix, MaxKeys: aws.Int32(1)})
				if err != nil || len(list.Contents) != 1 || *list.Contents[0].Key != key {
					t.Errorf("list %q: %+v, %v", prefix, list, err)
				}
			}
			folded, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: aws.String(bucketName), Prefix: aws.String("org-a"), Delimiter: aws.String("/"), EncodingType: types.EncodingTypeUrl})
			if err != nil || len(folded.CommonPrefixes) != 1 || *folded.CommonPrefixes[0].Prefix != "org-a/" {
				t.Errorf("folded: %+v, %v", folded, err)
			}
			if _, err := client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: aws.String(bucketName)}); err != nil {
				t.Error(err)
			}
			if _, err := client.GetBucketLocation(ctx, &s3.GetBucketLocationInput{Bucket: aws.String(bucketName)}); err != nil {
				t.Error(err)
			}
			multipart(t, client, "org-a/big")
		})
	}
}

func multipart(t *testing.T, client *s3.Client, key string) {
	ctx := t.Context()
	begun, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	data := make([]byte, objectstore.MinPart+77)
	_, _ = rand.Read(data)
	var made []types.CompletedPart
	for i, piece := range [][]byte{data[:objectstore.MinPart], data[objectstore.MinPart:]} {
		p, err := client.UploadPart(ctx, &s3.UploadPartInput{Bucket: aws.String(bucketName), Key: &key, UploadId: begun.UploadId, PartNumber: aws.Int32(int32(i + 1)), Body: bytes.NewReader(piece)})
		if err != nil {
			t.Fatal(err)
		}
		made = append(made, types.CompletedPart{PartNumber: aws.Int32(int32(i + 1)), ETag: p.ETag})
	}
	listed, err := client.ListParts(ctx, &s3.ListPartsInput{Bucket: aws.String(bucketName), Key: &key, UploadId: begun.UploadId})
	if err != nil || len(listed.Parts) != 2 {
		t.Errorf("parts: %+v, %v", listed, err)
	}
	if _, err := client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key, UploadId: begun.UploadId, MultipartUpload: &types.CompletedMultipartUpload{Parts: made}}); err != nil {
		t.Fatal(err)
	}
	out, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String(bucketName), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if got, _ := io.ReadAll(out.Body); !bytes.Equal(got, data) {
		t.Errorf("got %d bytes", len(got))
	}
	other, err := client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: aws.String(bucketName), Key: &key, UploadId: other.UploadId}); err != nil {
		t.Error(err)
	}
}

// Nothing of another organization can be read, listed, written or guessed, and
// nothing can be done but to put and get objects.
func TestIsolation(t *testing.T) {
	w := newWorld(t, false)
	ctx := t.Context()
	const text = "of org-b"
	for _, key := range []string{"org-b/x", "org-abc/x", "org-a/x", "top"} {
		if _, err := w.bucket.Put(ctx, key, strings.NewReader(text), int64(len(text)), ""); err != nil {
			t.Fatal(err)
		}
	}
	upload, err := w.bucket.Begin(ctx, "org-b/upload", "")
	if err != nil {
		t.Fatal(err)
	}
	client := w.s3(w.grant(t, s3gate.Grant{Prefix: "org-a/"}))
	bucket := aws.String(bucketName)
	for _, key := range []string{"org-b/x", "org-abc/x", "top", "org-a", "org-a/../org-b/x", "org-b/upload"} {
		_, err := client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: &key})
		refused(t, "get "+key, err)
		_, err = client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: bucket, Key: &key})
		refused(t, "head "+key, err)
		_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: bucket, Key: &key, Body: strings.NewReader("overwritten")})
		refused(t, "put "+key, err)
		_, err = client.CopyObject(ctx, &s3.CopyObjectInput{Bucket: bucket, Key: aws.String("org-a/copy"), CopySource: aws.String(bucketName + "/" + key)})
		refused(t, "copy "+key, err)
		_, err = client.CreateMultipartUpload(ctx, &s3.CreateMultipartUploadInput{Bucket: bucket, Key: &key})
		refused(t, "begin "+key, err)
		_, err = client.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: &key, UploadId: &upload, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
		refused(t, "part "+key, err)
		_, err = client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: &upload})
		refused(t, "abort "+key, err)
		_, err = client.ListParts(ctx, &s3.ListPartsInput{Bucket: bucket, Key: &key, UploadId: &upload})
		refused(t, "parts "+key, err)
		_, err = client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: bucket, Key: &key, UploadId: &upload, MultipartUpload: &types.CompletedMultipartUpload{Parts: []types.CompletedPart{{PartNumber: aws.Int32(1), ETag: aws.String("x")}}}})
		refused(t, "complete "+key, err)
	}
	// Another's upload under a key of one's own.
	_, err = client.UploadPart(ctx, &s3.UploadPartInput{Bucket: bucket, Key: aws.String("org-a/upload"), UploadId: &upload, PartNumber: aws.Int32(1), Body: strings.NewReader("x")})
	refused(t, "part of another's upload", err)
	_, err = client.UploadPartCopy(ctx, &s3.UploadPartCopyInput{Bucket: bucket, Key: aws.String("org-a/x"), UploadId: &upload, PartNumber: aws.Int32(1), CopySource: aws.String(bucketName + "/org-b/x")})
	refused(t, "copy of a part", err)
	for _, prefix := range []string{"", "o", "org-", "org-ab", "org-b/", "org-b", "org-a/../org-b/"} {
		list, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: &prefix})
		if err == nil && len(list.Contents)+len(list.CommonPrefixes) > 0 || err == nil && !strings.HasPrefix(prefix, "org-a/") {
			t.Errorf("list %q: %+v", prefix, list)
		}
	}
	list, err := client.ListObjectsV2(ctx, &s3.ListObjectsV2Input{Bucket: bucket, Prefix: aws.String("org-a"), StartAfter: aws.String("org-a/zzz")})
	if err != nil || len(list.Contents) != 0 {
		t.Errorf("list of what begins like one's own: %+v, %v", list, err)
	}
	// Whatever else there is.
	own := aws.String("org-a/x")
	_, err = client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: bucket, Key: own})
	refused(t, "delete", err)
	_, err = client.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: bucket, Delete: &types.Delete{Objects: []types.ObjectIdentifier{{Key: own}}}})
	refused(t, "delete many", err)
	_, err = client.ListBuckets(ctx, &s3.ListBucketsInput{})
	refused(t, "list buckets", err)
	_, err = client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: aws.String("another")})
	refused(t, "create a bucket", err)
	_, err = client.DeleteBucket(ctx, &s3.DeleteBucketInput{Bucket: bucket})
	refused(t, "delete the bucket", err)
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: aws.String("kept"), Key: own})
	refused(t, "the bucket by its own name", err)
	_, err = client.PutBucketPolicy(ctx, &s3.PutBucketPolicyInput{Bucket: bucket, Policy: aws.String("{}")})
	refused(t, "policy", err)
	_, err = client.GetBucketPolicy(ctx, &s3.GetBucketPolicyInput{Bucket: bucket})
	refused(t, "read the policy", err)
	_, err = client.GetBucketAcl(ctx, &s3.GetBucketAclInput{Bucket: bucket})
	refused(t, "acl", err)
	_, err = client.PutObjectAcl(ctx, &s3.PutObjectAclInput{Bucket: bucket, Key: own, ACL: types.ObjectCannedACLPublicRead})
	refused(t, "object acl", err)
	_, err = client.GetObject(ctx, &s3.GetObjectInput{Bucket: bucket, Key: own, VersionId: aws.String("1")})
	refused(t, "version", err)
	_, err = client.ListMultipartUploads(ctx, &s3.ListMultipartUploadsInput{Bucket: bucket})
	refused(t, "uploads", err)
	_, err = client.ListObjectVersions(ctx, &s3.ListObjectVersionsInput{Bucket: bucket})
	refused(t, "versions", err)
	_, err = client.PutObjectTagging(ctx, &s3.PutObjectTaggingInput{Bucket: bucket, Key: own, Tagging: &types.Tagging{TagSet: []types.Tag{{Key: aws.String("a"), Value: aws.String("b")}}}})
	refused(t, "tags", err)

	for _, key := range []string{"org-b/x", "org-abc/x", "top"} {
		body, _, err := w.bucket.Get(ctx, key, nil)
		if err != nil {
			t.Fatal(err)
		}
		if data, _ := io.ReadAll(body); string(data) != text {
			t.Errorf("%s is %q now", key, data)
		}
		body.Close()
	}
	if left, err := w.bucket.Parts(ctx, "org-b/upload", upload); err != nil || len(left) != 0 {
		t.Errorf("another's upload: %+v, %v", left, err)
	}
	if _, err := w.bucket.Stat(ctx, "org-a/copy"); !fault.Is(err, fault.NotFound) {
		t.Errorf("a copy was made: %v", err)
	}
}

func refused(t *testing.T, what string, err error) {
	t.Helper()
	if err == nil {
		t.Errorf("%s: allowed", what)
		return
	}
	switch c := code(err); c {
	case "AccessDenied", "Forbidden", "NoSuchUpload", "NotImplemented", "InvalidRequest", "BadRequest":
	default:
		t.Errorf("%s: refused with %s", what, c)
	}
}

func TestCredentials(t *testing.T) {
	w := newWorld(t, false)
	ctx := t.Context()
	good := w.grant(t, s3gate.Grant{Prefix: "org-a/"})
	other := w.grant(t, s3gate.Grant{Prefix: "org-b/"})
	try := func(c s3gate.Credentials) string {
		_, err := w.s3(c).PutObject(ctx, &s3.PutObjectInput{Bucket: aws.String(bucketName), Key: aws.String("org-a/x"), Body: strings.NewReader("x")})
		if err == nil {
			return ""
		}
		return code(err)
	}
	change := func(f func(*s3gate.Credentials)) s3gate.Credentials { c := good; f(&c); return c }
	foreign, err := s3gate.NewIssuer([]byte("another secret")).Issue(s3gate.Grant{Prefix: "org-a/", Expires: time.Now().Add(time.Hour)})
	if err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name string
		c    s3gate.Credentials
		want string
	}{
		{"good", good, ""},
		{"read only", w.grant(t, s3gate.Grant{Prefix: "org-a/", ReadOnly: true}), "AccessDenied"},
		{"expired", w.grant(t, s3gate.Grant{Prefix: "org-a/", Expires: time.Now().Add(-time.Second)}), "ExpiredToken"},
		{"another's token", change(func(c *s3gate.Credentials) { c.SessionToken = other.SessionToken }), "InvalidAccessKeyId"},
		{"another's secret", change(func(c *s3gate.Credentials) { c.Secret = other.Secret }), "SignatureDoesNotMatch"},
		{"another's key", change(func(c *s3gate.Credentials) { c.AccessKey = other.AccessKey }), "InvalidAccessKeyId"},
		{"no token", change(func(c *s3gate.Credentials) { c.SessionToken = "" }), "InvalidAccessKeyId"},
		{"changed token", change(func(c *s3gate.Credentials) { c.SessionToken = "A" + c.SessionToken }), "InvalidAccessKeyId"},
		{"another server's", foreign, "InvalidAccessKeyId"},
	} {
		if got := try(tt.c); got != tt.want {
			t.Errorf("%s: %q, want %q", tt.name, got, tt.want)
		}
	}
	w.now = func() time.Time { return time.Now().Add(20 * time.Minute) }
	if got := try(good); got != "RequestTimeTooSkewed" {
		t.Errorf("an old request: %q", got)
	}
	w.now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	if got := try(good); got == "" {
		t.Error("credentials outlive their hour")
	}
}

// request signs by hand what no client would send.
func (w *world) request(t *testing.T, c s3gate.Credentials, method, target, payload string, body io.Reader, headers map[string]string) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, w.origin.String()+target, body)
	if err != nil {
		t.Fatal(err)
	}
	for k, v := range headers {
		r.Header.Set(k, v)
	}
	r.Header.Set("X-Amz-Content-Sha256", payload)
	signer := v4.NewSigner(func(o *v4.SignerOptions) { o.DisableURIPathEscaping = true })
	if err := signer.SignHTTP(t.Context(), aws.Credentials{AccessKeyID: c.AccessKey, SecretAccessKey: c.Secret, SessionToken: c.SessionToken}, r, payload, "s3", "us-east-1", time.Now()); err != nil {
		t.Fatal(err)
	}
	answer, err := w.client.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { answer.Body.Close() })
	return answer
}

func TestByHand(t *testing.T) {
	w := newWorld(t, false)
	if _, err := w.bucket.Put(t.Context(), "org-b/x", strings.NewReader("secret"), 6, ""); err != nil {
		t.Fatal(err)
	}
	c := w.grant(t, s3gate.Grant{Prefix: "org-a/"})
	const empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
	for _, tt := range []struct {
		method, target string
		headers        map[string]string
		want           int
	}{
		{"GET", "/builds/org-a/%2e%2e/org-b/x", nil, 403},
		{"GET", "/builds/org-a/..%2forg-b/x", nil, 403},
		{"GET", "/builds/org-a//../org-b/x", nil, 400},
		{"GET", "/builds//org-b/x", nil, 403},
		{"GET", "/kept/org-a/x", nil, 403},
		{"GET", "/builds%2forg-b/x", nil, 403},
		{"GET", "/builds/org-a/x?acl", nil, 403},
		{"GET", "/builds/org-a/x?uploadId=1&acl", nil, 403},
		{"GET", "/builds/org-a/x?attributes", nil, 403},
		{"GET", "/builds?list-type=2&prefix=org-a/&prefix=org-b/", nil, 403},
		{"GET", "/builds?prefix=org-a/", nil, 501},
		{"GET", "/builds?list-type=2", nil, 403},
		{"GET", "/builds?versions&prefix=org-a/", nil, 403},
		{"PUT", "/builds/org-a/x", map[string]string{"X-Amz-Copy-Source": "/kept/org-b/x"}, 403},
		{"PUT", "/builds/org-a/x?partNumber=1", nil, 403},
		{"PUT", "/builds/org-a/x?partNumber=0&uploadId=" + strings.Repeat("../", 5) + "x", nil, 400},
		{"DELETE", "/builds/org-a/x", nil, 403},
		{"POST", "/builds/org-a/x?select&select-type=2", nil, 403},
		{"PATCH", "/builds/org-a/x", nil, 403},
	} {
		if got := w.request(t, c, tt.method, tt.target, empty, nil, tt.headers); got.StatusCode != tt.want {
			data, _ := io.ReadAll(got.Body)
			t.Errorf("%s %s: %d, want %d\n%s", tt.method, tt.target, got.StatusCode, tt.want, data)
		}
	}
	// A body that is not what was signed, or not what its checksum says.
	for _, tt := range []struct {
		name, payload string
		headers       map[string]string
	}{
		{"hash", empty, nil},
		{"checksum", "UNSIGNED-PAYLOAD", map[string]string{"X-Amz-Checksum-Crc32": "AAAAAA=="}},
		{"md5", "UNSIGNED-PAYLOAD", map[string]string{"Content-Md5": "1B2M2Y8AsgTpgAmY7PhCfg=="}},
		{"chunks", "STREAMING-UNSIGNED-PAYLOAD-TRAILER", map[string]string{"X-Amz-Decoded-Content-Length": "5"}},
		{"empty", "UNSIGNED-PAYLOAD", map[string]string{"X-Amz-Checksum-Crc32": "DUoRhQ=="}},
		{"other streams", "STREAMING-AWS4-ECDSA-P256-SHA256-PAYLOAD", nil},
	} {
		text := "hello"
		if tt.name == "empty" {
			text = ""
		}
		if got := w.request(t, c, "PUT", "/builds/org-a/x", tt.payload, strings.NewReader(text), tt.headers); got.StatusCode < 400 {
			t.Errorf("%s: %d", tt.name, got.StatusCode)
		}
		if _, err := w.bucket.Stat(t.Context(), "org-a/x"); !fault.Is(err, fault.NotFound) {
			t.Errorf("%s: it became an object: %v", tt.name, err)
		}
	}
	// Without a signature, and with one that was made for something else.
	for _, target := range []string{"/builds/org-b/x", "/builds?list-type=2&prefix=org-b/", "/"} {
		answer, err := w.client.Get(w.origin.String() + target)
		if err != nil {
			t.Fatal(err)
		}
		answer.Body.Close()
		if answer.StatusCode != http.StatusForbidden {
			t.Errorf("%s without a signature: %d", target, answer.StatusCode)
		}
	}
}

func TestPresign(t *testing.T) {
	w := newWorld(t, false)
	if _, err := w.bucket.Put(t.Context(), "org-a/h 1/context.tar", strings.NewReader("content"), 7, ""); err != nil {
		t.Fatal(err)
	}
	address, err := w.issuer.Presign(w.origin, bucketName, "org-a/h 1/context.tar", time.Now(), time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	do := func(method, target string) (int, string) {
		t.Helper()
		r, err := http.NewRequestWithContext(t.Context(), method, target, nil)
		if err != nil {
			t.Fatal(err)
		}
		answer, err := w.client.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		defer answer.Body.Close()
		data, _ := io.ReadAll(answer.Body)
		return answer.StatusCode, string(data)
	}
	if status, text := do("GET", address); status != 200 || text != "content" {
		t.Fatalf("%d %s", status, text)
	}
	for _, tt := range []struct{ name, method, target string }{
		{"another key", "GET", strings.Replace(address, "h%201", "h%202", 1)},
		{"another method", "PUT", address},
		{"longer", "GET", strings.Replace(address, "X-Amz-Expires=", "X-Amz-Expires=9", 1)},
		{"a parameter more", "GET", address + "&acl="},
	} {
		if status, _ := do(tt.method, tt.target); status < 400 {
			t.Errorf("%s: %d", tt.name, status)
		}
	}
	w.now = func() time.Time { return time.Now().Add(59 * time.Minute) }
	if status, text := do("GET", address); status != 200 {
		t.Errorf("within its hour: %d %s", status, text)
	}
	w.now = func() time.Time { return time.Now().Add(61 * time.Minute) }
	if status, _ := do("GET", address); status < 400 {
		t.Errorf("after its hour: %d", status)
	}
}

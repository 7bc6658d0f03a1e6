package objectstore

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"

	"daytona/internal/fault"
)

// S3Config says where a bucket is.
type S3Config struct {
	Endpoint string // origin, such as https://s3.example.org; "" is Amazon's of Region
	Region   string // "" is us-east-1
	Bucket   string
	Key      string
	Secret   string
	Token    string       // of a session, or ""
	Client   *http.Client // nil is one with the usual time limits on connecting
}

type s3Bucket struct {
	client *s3.Client
	name   string
	where  string // for messages
}

// NewS3 returns the bucket of c, by path-style addresses. Nothing is asked of it
// yet; see Check and Create.
func NewS3(c S3Config) Bucket { return newS3(c) }

func newS3(c S3Config) *s3Bucket {
	options := s3.Options{
		Region:       cmp.Or(c.Region, "us-east-1"),
		UsePathStyle: true,
		Credentials: aws.CredentialsProviderFunc(func(context.Context) (aws.Credentials, error) {
			return aws.Credentials{AccessKeyID: c.Key, SecretAccessKey: c.Secret, SessionToken: c.Token}, nil
		}),
		// Many stores know nothing of the newer checksums.
		RequestChecksumCalculation: aws.RequestChecksumCalculationWhenRequired,
		ResponseChecksumValidation: aws.ResponseChecksumValidationWhenRequired,
	}
	if c.Endpoint != "" {
		options.BaseEndpoint = aws.String(strings.TrimRight(c.Endpoint, "/"))
	}
	if c.Client != nil {
		options.HTTPClient = c.Client
	}
	return &s3Bucket{client: s3.New(options), name: c.Bucket, where: cmp.Or(c.Endpoint, "s3."+options.Region+".amazonaws.com") + "/" + c.Bucket}
}

// Create makes the bucket unless it is there.
func Create(ctx context.Context, c S3Config) error {
	b := newS3(c)
	if err := b.Check(ctx); err == nil || !fault.Is(err, fault.NotFound) {
		return err
	}
	_, err := b.client.CreateBucket(ctx, &s3.CreateBucketInput{Bucket: &b.name})
	var owned *types.BucketAlreadyOwnedByYou
	if errors.As(err, &owned) {
		return nil
	}
	return b.fail(err, "")
}

func (b *s3Bucket) Check(ctx context.Context) error {
	_, err := b.client.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: &b.name})
	if code(err) == http.StatusNotFound {
		return fault.Wrap(err, fault.NotFound, "there is no bucket %s", b.name)
	}
	return b.fail(err, "")
}

// streamed sends a body that cannot be read twice: unsigned, its length is checked.
func streamed(o *s3.Options) {
	o.APIOptions = append(o.APIOptions, v4.SwapComputePayloadSHA256ForUnsignedPayloadMiddleware)
	o.Retryer = aws.NopRetryer{}
}

func (b *s3Bucket) Put(ctx context.Context, key string, body io.Reader, size int64, contentType string) (Object, error) {
	if err := CheckKey(key); err != nil {
		return Object{}, err
	}
	in := &s3.PutObjectInput{Bucket: &b.name, Key: &key, Body: exactly(body, size), ContentLength: &size}
	if contentType != "" {
		in.ContentType = &contentType
	}
	out, err := b.client.PutObject(ctx, in, streamed)
	if err != nil {
		return Object{}, b.fail(err, key)
	}
	return Object{Key: key, Size: size, ETag: aws.ToString(out.ETag), ContentType: contentType, Modified: time.Now()}, nil
}

func (b *s3Bucket) Get(ctx context.Context, key string, r *Range) (io.ReadCloser, Object, error) {
	if err := CheckKey(key); err != nil {
		return nil, Object{}, err
	}
	in := &s3.GetObjectInput{Bucket: &b.name, Key: &key}
	if r != nil {
		in.Range = aws.String(r.String())
	}
	out, err := b.client.GetObject(ctx, in)
	if err != nil {
		return nil, Object{}, b.fail(err, key)
	}
	o := Object{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag),
		ContentType: aws.ToString(out.ContentType), Modified: aws.ToTime(out.LastModified)}
	if _, whole, ok := strings.Cut(aws.ToString(out.ContentRange), "/"); ok {
		if _, err := fmt.Sscan(whole, &o.Size); err != nil {
			out.Body.Close()
			return nil, Object{}, fault.Wrap(err, fault.Upstream, "the object store sent a range that cannot be read")
		}
	}
	return out.Body, o, nil
}

// String is the range as a header has it.
func (r Range) String() string {
	switch {
	case r.First < 0:
		return fmt.Sprintf("bytes=-%d", r.Last)
	case r.Last < 0:
		return fmt.Sprintf("bytes=%d-", r.First)
	}
	return fmt.Sprintf("bytes=%d-%d", r.First, r.Last)
}

func (b *s3Bucket) Stat(ctx context.Context, key string) (Object, error) {
	if err := CheckKey(key); err != nil {
		return Object{}, err
	}
	out, err := b.client.HeadObject(ctx, &s3.HeadObjectInput{Bucket: &b.name, Key: &key})
	if err != nil {
		return Object{}, b.fail(err, key)
	}
	return Object{Key: key, Size: aws.ToInt64(out.ContentLength), ETag: aws.ToString(out.ETag),
		ContentType: aws.ToString(out.ContentType), Modified: aws.ToTime(out.LastModified)}, nil
}

func (b *s3Bucket) List(ctx context.Context, q Query) (Page, error) {
	in := &s3.ListObjectsV2Input{Bucket: &b.name, Prefix: &q.Prefix, MaxKeys: aws.Int32(int32(min(cmp.Or(max(q.Max, 0), 1000), 1000)))}
	for _, o := range []struct {
		value string
		to    **string
	}{{q.Delimiter, &in.Delimiter}, {q.After, &in.StartAfter}, {q.Token, &in.ContinuationToken}} {
		if o.value != "" {
			*o.to = aws.String(o.value)
		}
	}
	out, err := b.client.ListObjectsV2(ctx, in)
	if err != nil {
		return Page{}, b.fail(err, "")
	}
	var page Page
	for _, o := range out.Contents {
		page.Objects = append(page.Objects, Object{Key: aws.ToString(o.Key), Size: aws.ToInt64(o.Size), ETag: aws.ToString(o.ETag), Modified: aws.ToTime(o.LastModified)})
	}
	for _, p := range out.CommonPrefixes {
		page.Prefixes = append(page.Prefixes, aws.ToString(p.Prefix))
	}
	if aws.ToBool(out.IsTruncated) {
		page.Next = aws.ToString(out.NextContinuationToken)
	}
	return page, nil
}

func (b *s3Bucket) Delete(ctx context.Context, key string) error {
	if err := CheckKey(key); err != nil {
		return err
	}
	_, err := b.client.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: &b.name, Key: &key})
	if code(err) == http.StatusNotFound {
		return nil
	}
	return b.fail(err, key)
}

// fail turns an error of the client into a fault.
func (b *s3Bucket) fail(err error, key string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, errShort) {
		return fault.Wrap(err, fault.Invalid, "the body ended before its length")
	}
	var known smithy.APIError
	name := ""
	if errors.As(err, &known) {
		name = known.ErrorCode()
	}
	status := code(err)
	switch {
	case name == "NoSuchUpload":
		return fault.Wrap(err, fault.NotFound, "there is no such upload").WithCode("NoSuchUpload")
	case name == "NoSuchBucket":
		return fault.Wrap(err, fault.Unavailable, "the object store has no bucket %s", b.name)
	case status == http.StatusNotFound:
		return fault.Wrap(err, fault.NotFound, "there is no object %q", key)
	case status == http.StatusRequestedRangeNotSatisfiable:
		return fault.Wrap(err, fault.Invalid, "the object has no such range").WithCode("InvalidRange")
	case status == http.StatusForbidden || status == http.StatusUnauthorized:
		return fault.Wrap(err, fault.Unavailable, "the object store %s refuses the credentials that it was configured with", b.where)
	case status == http.StatusBadRequest || status == http.StatusConflict || status == http.StatusPreconditionFailed:
		return fault.Wrap(err, fault.Invalid, "the object store refuses the request: %s", cmp.Or(name, "bad request")).WithCode(name)
	case status == http.StatusInsufficientStorage || name == "QuotaExceeded":
		return fault.Wrap(err, fault.Unavailable, "the object store is full")
	case errors.Is(err, context.Canceled):
		return err
	}
	return fault.Wrap(err, fault.Unavailable, "the object store %s does not answer as it should", b.where)
}

// code is the status of an answer that is an error, or 0.
func code(err error) int {
	var answered interface{ HTTPStatusCode() int }
	if errors.As(err, &answered) {
		return answered.HTTPStatusCode()
	}
	return 0
}

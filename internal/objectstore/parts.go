package objectstore

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"

	"daytona/internal/fault"
)

func (b *s3Bucket) Begin(ctx context.Context, key, contentType string) (string, error) {
	if err := CheckKey(key); err != nil {
		return "", err
	}
	in := &s3.CreateMultipartUploadInput{Bucket: &b.name, Key: &key}
	if contentType != "" {
		in.ContentType = &contentType
	}
	out, err := b.client.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", b.fail(err, key)
	}
	return aws.ToString(out.UploadId), nil
}

func (b *s3Bucket) PutPart(ctx context.Context, key, uploadID string, n int, body io.Reader, size int64) (Part, error) {
	if n < 1 || n > MaxParts {
		return Part{}, fault.New(fault.Invalid, "part %d is not one of 1 to %d", n, MaxParts)
	}
	out, err := b.client.UploadPart(ctx, &s3.UploadPartInput{Bucket: &b.name, Key: &key, UploadId: &uploadID,
		PartNumber: aws.Int32(int32(n)), Body: exactly(body, size), ContentLength: &size}, streamed)
	if err != nil {
		return Part{}, b.fail(err, key)
	}
	return Part{Number: n, Size: size, ETag: aws.ToString(out.ETag)}, nil
}

func (b *s3Bucket) Parts(ctx context.Context, key, uploadID string) ([]Part, error) {
	var out []Part
	pages := s3.NewListPartsPaginator(b.client, &s3.ListPartsInput{Bucket: &b.name, Key: &key, UploadId: &uploadID})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.fail(err, key)
		}
		for _, p := range page.Parts {
			out = append(out, Part{Number: int(aws.ToInt32(p.PartNumber)), Size: aws.ToInt64(p.Size), ETag: aws.ToString(p.ETag)})
		}
	}
	return out, nil
}

func (b *s3Bucket) Complete(ctx context.Context, key, uploadID string, parts []Part) (Object, error) {
	named := make([]types.CompletedPart, len(parts))
	for i, p := range parts {
		named[i] = types.CompletedPart{ETag: aws.String(p.ETag), PartNumber: aws.Int32(int32(p.Number))}
	}
	_, err := b.client.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: &uploadID,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: named}})
	if err != nil {
		return Object{}, b.fail(err, key)
	}
	return b.Stat(ctx, key)
}

func (b *s3Bucket) Abort(ctx context.Context, key, uploadID string) error {
	_, err := b.client.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: &b.name, Key: &key, UploadId: &uploadID})
	if err = b.fail(err, key); fault.Is(err, fault.NotFound) {
		return nil
	}
	return err
}

func (b *s3Bucket) Uploads(ctx context.Context, prefix string) ([]Upload, error) {
	var out []Upload
	pages := s3.NewListMultipartUploadsPaginator(b.client, &s3.ListMultipartUploadsInput{Bucket: &b.name, Prefix: &prefix})
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, b.fail(err, "")
		}
		for _, u := range page.Uploads {
			out = append(out, Upload{Key: aws.ToString(u.Key), ID: aws.ToString(u.UploadId), Begun: aws.ToTime(u.Initiated)})
		}
	}
	return out, nil
}

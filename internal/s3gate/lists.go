package s3gate

import (
	"encoding/xml"
	"io"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"daytona/internal/objectstore"
)

const namespace = "http://s3.amazonaws.com/doc/2006-03-01/"

func (g *Gate) location(w http.ResponseWriter, _ *request) error {
	writeXML(w, http.StatusOK, struct {
		XMLName xml.Name `xml:"LocationConstraint"`
		NS      string   `xml:"xmlns,attr"`
	}{NS: namespace}) // empty is us-east-1
	return nil
}

type listResult struct {
	XMLName               xml.Name `xml:"ListBucketResult"`
	NS                    string   `xml:"xmlns,attr"`
	Name, Prefix          string
	Delimiter             string `xml:",omitempty"`
	EncodingType          string `xml:",omitempty"`
	StartAfter            string `xml:",omitempty"`
	ContinuationToken     string `xml:",omitempty"`
	NextContinuationToken string `xml:",omitempty"`
	KeyCount, MaxKeys     int
	IsTruncated           bool
	Contents              []listObject
	CommonPrefixes        []listPrefix
}

type listObject struct {
	Key, LastModified, ETag string
	Size                    int64
	StorageClass            string
}

type listPrefix struct{ Prefix string }

func (g *Gate) list(w http.ResponseWriter, r *request) error {
	q := objectstore.Query{
		Prefix: r.param("prefix"), Delimiter: r.param("delimiter"), After: r.param("start-after"), Token: r.param("continuation-token"), Max: 1000,
	}
	if !r.grant.lists(q.Prefix) {
		return errDenied
	}
	g.Seen(q.Prefix)
	if r.param("list-type") != "2" || q.Delimiter != "" && q.Delimiter != "/" {
		return errNotImplemented
	}
	if text := r.param("max-keys"); text != "" {
		n, err := strconv.Atoi(text)
		if err != nil || n < 1 {
			return errBadRequest
		}
		q.Max = min(n, q.Max)
	}
	name := func(s string) string { return s }
	out := listResult{NS: namespace, Name: g.Name, MaxKeys: q.Max, ContinuationToken: q.Token}
	switch r.param("encoding-type") {
	case "":
	case "url":
		name = func(s string) string { return escape(s, true) }
		out.EncodingType = "url"
	default:
		return errBadRequest
	}
	page, err := g.Bucket.List(r.Context(), q)
	if err != nil {
		return err
	}
	out.Prefix, out.Delimiter, out.StartAfter = name(q.Prefix), name(q.Delimiter), name(q.After)
	out.NextContinuationToken, out.IsTruncated = page.Next, page.Next != ""
	for _, o := range page.Objects {
		if r.grant.reaches(o.Key) { // the prefix may lack its slash
			out.Contents = append(out.Contents, listObject{name(o.Key), o.Modified.UTC().Format("2006-01-02T15:04:05.000Z"), o.ETag, o.Size, "STANDARD"})
		}
	}
	for _, p := range page.Prefixes {
		if r.grant.reaches(p) {
			out.CommonPrefixes = append(out.CommonPrefixes, listPrefix{name(p)})
		}
	}
	out.KeyCount = len(out.Contents) + len(out.CommonPrefixes)
	writeXML(w, http.StatusOK, out)
	return nil
}

// staleUpload is the age at which an upload under way was given up by its client,
// whose credentials ended long ago.
const staleUpload = 24 * time.Hour

func (g *Gate) begin(w http.ResponseWriter, r *request) error {
	if !r.grant.Exact {
		if err := objectstore.ExpireUploads(r.Context(), g.Bucket, r.grant.Prefix, g.Now().Add(-staleUpload)); err != nil {
			g.Log.WarnContext(r.Context(), "uploads that were given up could not be removed", "error", err)
		}
	}
	id, err := g.Bucket.Begin(r.Context(), r.key, contentType(r))
	if err != nil {
		return err
	}
	writeXML(w, http.StatusOK, struct {
		XMLName               xml.Name `xml:"InitiateMultipartUploadResult"`
		NS                    string   `xml:"xmlns,attr"`
		Bucket, Key, UploadId string
	}{NS: namespace, Bucket: g.Name, Key: r.key, UploadId: id})
	return nil
}

func (g *Gate) putPart(w http.ResponseWriter, r *request) error {
	n, err := strconv.Atoi(r.param("partNumber"))
	if err != nil {
		return errBadRequest
	}
	content, size, err := bodyOf(w, r.Request, r.signed, objectstore.MaxPart)
	if err != nil {
		return err
	}
	if err := g.Admit(r.Context(), r.key, size); err != nil {
		return err
	}
	p, err := g.Bucket.PutPart(r.Context(), r.key, r.param("uploadId"), n, content, size)
	if err != nil {
		return err
	}
	w.Header().Set("ETag", p.ETag)
	w.WriteHeader(http.StatusOK)
	return nil
}

type listedPart struct {
	PartNumber   int
	LastModified string
	ETag         string
	Size         int64
}

func (g *Gate) parts(w http.ResponseWriter, r *request) error {
	parts, err := g.Bucket.Parts(r.Context(), r.key, r.param("uploadId"))
	if err != nil {
		return err
	}
	after, _ := strconv.Atoi(r.param("part-number-marker"))
	most, err := strconv.Atoi(r.param("max-parts"))
	if err != nil || most < 1 || most > 1000 {
		most = 1000
	}
	parts = slices.DeleteFunc(parts, func(p objectstore.Part) bool { return p.Number <= after })
	out := struct {
		XMLName                        xml.Name `xml:"ListPartsResult"`
		NS                             string   `xml:"xmlns,attr"`
		Bucket, Key, UploadId          string
		PartNumberMarker               int
		NextPartNumberMarker, MaxParts int
		IsTruncated                    bool
		Part                           []listedPart
	}{NS: namespace, Bucket: g.Name, Key: r.key, UploadId: r.param("uploadId"), PartNumberMarker: after, MaxParts: most, IsTruncated: len(parts) > most}
	for _, p := range parts[:min(most, len(parts))] {
		out.Part = append(out.Part, listedPart{p.Number, g.Now().UTC().Format(time.RFC3339), p.ETag, p.Size})
		out.NextPartNumberMarker = p.Number
	}
	writeXML(w, http.StatusOK, out)
	return nil
}

// maxPartList bounds the body that names the parts: 10000 with their checksums.
const maxPartList = 4 << 20

func (g *Gate) complete(w http.ResponseWriter, r *request) error {
	content, size, err := bodyOf(w, r.Request, r.signed, maxPartList)
	if err != nil {
		return err
	}
	data, err := io.ReadAll(io.LimitReader(content, size+1))
	if err != nil {
		return err
	}
	var named struct {
		XMLName xml.Name `xml:"CompleteMultipartUpload"`
		Part    []struct {
			PartNumber int
			ETag       string
		}
	}
	if err := xml.Unmarshal(data, &named); err != nil || len(named.Part) == 0 || len(named.Part) > objectstore.MaxParts {
		return errBadXML
	}
	parts := make([]objectstore.Part, len(named.Part))
	for i, p := range named.Part {
		parts[i] = objectstore.Part{Number: p.PartNumber, ETag: p.ETag}
	}
	o, err := g.Bucket.Complete(r.Context(), r.key, r.param("uploadId"), parts)
	if err != nil {
		return err
	}
	writeXML(w, http.StatusOK, struct {
		XMLName                     xml.Name `xml:"CompleteMultipartUploadResult"`
		NS                          string   `xml:"xmlns,attr"`
		Location, Bucket, Key, ETag string
	}{NS: namespace, Location: escape("/"+g.Name+"/"+r.key, true), Bucket: g.Name, Key: r.key, ETag: strings.TrimSpace(o.ETag)})
	return nil
}

func (g *Gate) abort(w http.ResponseWriter, r *request) error {
	if err := g.Bucket.Abort(r.Context(), r.key, r.param("uploadId")); err != nil {
		return err
	}
	w.WriteHeader(http.StatusNoContent)
	return nil
}

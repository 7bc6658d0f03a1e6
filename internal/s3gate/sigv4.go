package s3gate

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
)

const (
	algorithm  = "AWS4-HMAC-SHA256"
	timeFormat = "20060102T150405Z"
	maxSkew    = 15 * time.Minute
	maxPresign = 7 * 24 * time.Hour

	headerDate    = "X-Amz-Date"
	headerContent = "X-Amz-Content-Sha256"
	headerToken   = "X-Amz-Security-Token" // #nosec G101 -- a name

	unsignedPayload = "UNSIGNED-PAYLOAD"
)

// signed is a request whose signature was found to be right.
type signed struct {
	grant   Grant
	payload string // value of X-Amz-Content-Sha256
	chunks  signer // for bodies that are signed in chunks
}

// signer signs the pieces of one request.
type signer struct {
	key         []byte
	date, scope string
	signature   string // of the piece before
}

// sign returns the signature of a piece, and remembers it for the next.
func (s *signer) sign(kind string, hashes ...string) string {
	text := strings.Join(append([]string{kind, s.date, s.scope, s.signature}, hashes...), "\n")
	s.signature = hex.EncodeToString(mac(s.key, text))
	return s.signature
}

// claim is what a request says of itself.
type claim struct {
	accessKey, token         string
	day, region              string
	headers                  []string // signed ones, lower case, sorted
	signature, date, payload string
	presigned                time.Duration // 0: signed in its headers
}

// verify finds out what a request may do. The caller's clock is now.
func (i *Issuer) verify(r *http.Request, now time.Time) (signed, error) {
	query, err := parseQuery(r.URL.RawQuery)
	if err != nil {
		return signed{}, errBadRequest
	}
	c, err := claimOf(r, query)
	if err != nil {
		return signed{}, err
	}
	grant, secret, ok := i.open(c.accessKey, c.token)
	if !ok {
		return signed{}, errAccessKey
	}
	at, err := time.Parse(timeFormat, c.date)
	if err != nil || c.date[:8] != c.day {
		return signed{}, errMalformed
	}
	switch {
	case c.presigned > maxPresign:
		return signed{}, errMalformed
	case c.presigned > 0 && now.After(at.Add(c.presigned)):
		return signed{}, errRequestExpired
	case at.After(now.Add(maxSkew)), c.presigned == 0 && at.Before(now.Add(-maxSkew)):
		return signed{}, errSkewed
	}
	if !slices.Contains(c.headers, "host") {
		return signed{}, errMalformed
	}
	scope := c.day + "/" + c.region + "/s3/aws4_request"
	key := signingKey(secret, c.day, c.region)
	canonical := canonicalRequest(r.Method, r.URL.Path, query, r, c.headers, c.payload)
	want := hex.EncodeToString(mac(key, strings.Join([]string{algorithm, c.date, scope, hashText(canonical)}, "\n")))
	if !hmac.Equal([]byte(want), []byte(c.signature)) {
		return signed{}, errSignature
	}
	if !now.Before(grant.Expires) {
		return signed{}, errExpired
	}
	return signed{grant: grant, payload: c.payload, chunks: signer{key: key, date: c.date, scope: scope, signature: want}}, nil
}

func claimOf(r *http.Request, query []pair) (claim, error) {
	if first(query, "X-Amz-Algorithm") != "" {
		return presignedClaim(query)
	}
	header := r.Header.Get("Authorization")
	if header == "" {
		return claim{}, errAnonymous
	}
	rest, ok := strings.CutPrefix(header, algorithm+" ")
	if !ok {
		return claim{}, errMalformed
	}
	c := claim{token: r.Header.Get(headerToken), date: r.Header.Get(headerDate), payload: r.Header.Get(headerContent)}
	var credential, headers string
	for field := range strings.SplitSeq(rest, ",") {
		name, value, _ := strings.Cut(strings.TrimSpace(field), "=")
		switch name {
		case "Credential":
			credential = value
		case "SignedHeaders":
			headers = value
		case "Signature":
			c.signature = value
		}
	}
	if c.payload == "" {
		return claim{}, errMalformed
	}
	return c, c.fill(credential, headers)
}

func presignedClaim(query []pair) (claim, error) {
	c := claim{
		token: first(query, headerToken), date: first(query, headerDate), signature: first(query, "X-Amz-Signature"), payload: unsignedPayload,
	}
	seconds, err := strconv.ParseInt(first(query, "X-Amz-Expires"), 10, 32)
	if err != nil || seconds <= 0 || first(query, "X-Amz-Algorithm") != algorithm {
		return claim{}, errMalformed
	}
	c.presigned = time.Duration(seconds) * time.Second
	return c, c.fill(first(query, "X-Amz-Credential"), first(query, "X-Amz-SignedHeaders"))
}

// fill takes a credential and a list of headers apart. Every region is fine.
func (c *claim) fill(credential, headers string) error {
	p := strings.Split(credential, "/")
	if len(p) != 5 || p[3] != "s3" || p[4] != "aws4_request" || c.signature == "" || headers == "" || len(c.date) != len(timeFormat) {
		return errMalformed
	}
	c.accessKey, c.day, c.region = p[0], p[1], p[2]
	c.headers = strings.Split(strings.ToLower(headers), ";")
	if !slices.IsSorted(c.headers) {
		return errMalformed
	}
	return nil
}

func canonicalRequest(method, path string, query []pair, r *http.Request, headers []string, payload string) string {
	var b strings.Builder
	b.WriteString(method + "\n" + escape(path, true) + "\n" + canonicalQuery(query) + "\n")
	for _, name := range headers {
		var value string
		switch name {
		case "host":
			value = r.Host
		case "content-length":
			value = strconv.FormatInt(r.ContentLength, 10)
		case "transfer-encoding":
			value = strings.Join(r.TransferEncoding, ",")
		default:
			values := slices.Clone(r.Header.Values(name))
			for i, v := range values {
				values[i] = strings.Join(strings.Fields(v), " ")
			}
			value = strings.Join(values, ",")
		}
		b.WriteString(name + ":" + value + "\n")
	}
	b.WriteString("\n" + strings.Join(headers, ";") + "\n" + payload)
	return b.String()
}

// pair is a parameter of a query, decoded.
type pair struct{ name, value string }

func parseQuery(raw string) ([]pair, error) {
	var out []pair
	for field := range strings.SplitSeq(raw, "&") {
		if field == "" {
			continue
		}
		name, value, _ := strings.Cut(field, "=")
		n, err := url.QueryUnescape(name)
		if err != nil {
			return nil, err
		}
		v, err := url.QueryUnescape(value)
		if err != nil {
			return nil, err
		}
		out = append(out, pair{n, v})
	}
	return out, nil
}

func canonicalQuery(query []pair) string {
	var fields []string
	for _, p := range query {
		if p.name != "X-Amz-Signature" {
			fields = append(fields, escape(p.name, false)+"="+escape(p.value, false))
		}
	}
	slices.Sort(fields)
	return strings.Join(fields, "&")
}

func first(query []pair, name string) string {
	for _, p := range query {
		if p.name == name {
			return p.value
		}
	}
	return ""
}

// escape encodes as the signature has it: everything but letters, digits and -._~.
func escape(s string, slash bool) string {
	const hexDigits = "0123456789ABCDEF"
	var b strings.Builder
	for i := range len(s) {
		c := s[i]
		switch {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9', c == '-', c == '.', c == '_', c == '~', c == '/' && slash:
			b.WriteByte(c)
		default:
			b.WriteByte('%')
			b.WriteByte(hexDigits[c>>4])
			b.WriteByte(hexDigits[c&15])
		}
	}
	return b.String()
}

func signingKey(secret, day, region string) []byte {
	return mac(mac(mac(mac([]byte("AWS4"+secret), day), region), "s3"), "aws4_request")
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func hashText(text string) string {
	sum := sha256.Sum256([]byte(text))
	return hex.EncodeToString(sum[:])
}

// Presign returns an address at which whoever has it can fetch one key until it
// expires. origin is where the gate is reached, base its path there.
func (i *Issuer) Presign(origin *url.URL, bucket, key string, now, expires time.Time) (string, error) {
	c, err := i.Issue(Grant{Prefix: key, Exact: true, ReadOnly: true, Expires: expires})
	if err != nil {
		return "", err
	}
	const region = "us-east-1"
	date := now.UTC().Format(timeFormat)
	query := []pair{
		{"X-Amz-Algorithm", algorithm},
		{"X-Amz-Credential", c.AccessKey + "/" + date[:8] + "/" + region + "/s3/aws4_request"},
		{headerDate, date},
		{"X-Amz-Expires", strconv.Itoa(max(1, int(expires.Sub(now).Seconds())))},
		{headerToken, c.SessionToken},
		{"X-Amz-SignedHeaders", "host"},
	}
	path := "/" + bucket + "/" + key
	r := &http.Request{Host: origin.Host}
	canonical := canonicalRequest(http.MethodGet, path, query, r, []string{"host"}, unsignedPayload)
	text := strings.Join([]string{algorithm, date, date[:8] + "/" + region + "/s3/aws4_request", hashText(canonical)}, "\n")
	signature := hex.EncodeToString(mac(signingKey(c.Secret, date[:8], region), text))
	return origin.Scheme + "://" + origin.Host + escape(path, true) + "?" + canonicalQuery(query) + "&X-Amz-Signature=" + signature, nil
}

package s3gate

import (
	"encoding/xml"
	"errors"
	"net/http"

	"daytona/internal/fault"
)

// s3Error is an error as S3 clients know it.
type s3Error struct {
	status     int
	code, text string
}

func (e *s3Error) Error() string { return e.code + ": " + e.text }

var (
	errAnonymous      = &s3Error{http.StatusForbidden, "AccessDenied", "The request is not signed. Ask the API for credentials: GET /api/object-storage/push-access"}
	errMalformed      = &s3Error{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The signature is not one of AWS Signature Version 4 with a session token"}
	errAccessKey      = &s3Error{http.StatusForbidden, "InvalidAccessKeyId", "These credentials are not known. Ask the API for others, and send their session token too"}
	errExpired        = &s3Error{http.StatusBadRequest, "ExpiredToken", "The credentials have expired. Ask the API for others"}
	errRequestExpired = &s3Error{http.StatusForbidden, "AccessDenied", "Request has expired"}
	errSkewed         = &s3Error{http.StatusForbidden, "RequestTimeTooSkewed", "The clock of the client differs from the server's by more than 15 minutes"}
	errSignature      = &s3Error{http.StatusForbidden, "SignatureDoesNotMatch", "The signature does not fit the request. A proxy before the server must pass on the Host header and the path as they are"}
	errDenied         = &s3Error{http.StatusForbidden, "AccessDenied", "The credentials do not reach this"}
	errNotImplemented = &s3Error{http.StatusNotImplemented, "NotImplemented", "This storage takes and gives objects, and nothing else"}
	errBadRequest     = &s3Error{http.StatusBadRequest, "InvalidRequest", "The request cannot be read"}
	errBadXML         = &s3Error{http.StatusBadRequest, "MalformedXML", "The list of parts cannot be read"}
	errNoLength       = &s3Error{http.StatusLengthRequired, "MissingContentLength", "The length of the object is missing"}
	errTooLarge       = &s3Error{http.StatusBadRequest, "EntityTooLarge", "The object is too large"}
	errChunk          = &s3Error{http.StatusBadRequest, "IncompleteBody", "The chunks of the body cannot be read"}
	errHash           = &s3Error{http.StatusBadRequest, "XAmzContentSHA256Mismatch", "The body differs from its signed hash"}
	errDigest         = &s3Error{http.StatusBadRequest, "BadDigest", "The body differs from its checksum"}
	errNoUpload       = &s3Error{http.StatusNotFound, "NoSuchUpload", "There is no such upload"}
	errRange          = &s3Error{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The object has no such range"}
)

// s3ErrorOf says what a client is told of an error.
func s3ErrorOf(err error) *s3Error {
	if e, ok := errors.AsType[*s3Error](err); ok {
		return e
	}
	f, ok := errors.AsType[*fault.Error](err)
	if !ok {
		return &s3Error{http.StatusInternalServerError, "InternalError", "The server failed; its log says why"}
	}
	switch f.Code {
	case "NoSuchUpload":
		return errNoUpload
	case "InvalidRange":
		return errRange
	case "InvalidPart", "InvalidPartOrder", "EntityTooSmall":
		return &s3Error{http.StatusBadRequest, f.Code, f.Text}
	}
	switch f.Kind {
	case fault.NotFound:
		return &s3Error{http.StatusNotFound, "NoSuchKey", f.Text}
	case fault.Invalid:
		return &s3Error{http.StatusBadRequest, "InvalidRequest", f.Text}
	case fault.Forbidden:
		return &s3Error{http.StatusForbidden, "QuotaExceeded", f.Text}
	case fault.Unavailable:
		return &s3Error{http.StatusServiceUnavailable, "ServiceUnavailable", f.Text}
	}
	return &s3Error{http.StatusInternalServerError, "InternalError", "The server failed; its log says why"}
}

type errorBody struct {
	XMLName                            xml.Name `xml:"Error"`
	Code, Message, Resource, RequestID string
}

func (e *s3Error) write(w http.ResponseWriter, r *http.Request) {
	if r.Method == http.MethodHead {
		w.WriteHeader(e.status)
		return
	}
	writeXML(w, e.status, errorBody{Code: e.code, Message: e.text, Resource: r.URL.Path, RequestID: w.Header().Get("X-Request-Id")})
}

func writeXML(w http.ResponseWriter, status int, body any) {
	data, err := xml.Marshal(body)
	if err != nil { // shapes of our own
		status, data = http.StatusInternalServerError, nil
	}
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	_, _ = w.Write(append([]byte(xml.Header), data...))
}

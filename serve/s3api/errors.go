package s3api

import (
	"context"
	"encoding/xml"
	"errors"
	"io/fs"
	"net/http"
	"syscall"

	"github.com/vaultpack/vaultpack/envelope"
	"github.com/vaultpack/vaultpack/serve"
)

// A failure is an error as S3 tells it.
//
// Source: https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html
type failure struct {
	status  int
	code    string
	message string
}

func (f *failure) Error() string { return f.code + ": " + f.message }

var (
	errAccessDenied     = &failure{http.StatusForbidden, "AccessDenied", "Access Denied: this server only reads, and every request must be signed."}
	errMissingAuth      = &failure{http.StatusForbidden, "AccessDenied", "Access Denied: the request is not signed. Set the credentials that vaultpack serve has printed."}
	errUnknownKey       = &failure{http.StatusForbidden, "InvalidAccessKeyId", "The access key is not the one that this server has made."}
	errSignature        = &failure{http.StatusForbidden, "SignatureDoesNotMatch", "The signature is not that of the request under the secret access key of this server."}
	errSkewed           = &failure{http.StatusForbidden, "RequestTimeTooSkewed", "The difference between the request time and the server's time is too large."}
	errExpired          = &failure{http.StatusForbidden, "AccessDenied", "Request has expired"}
	errAuthForm         = &failure{http.StatusBadRequest, "AuthorizationHeaderMalformed", "The authorization is not one of Signature Version 4 for the service s3."}
	errNoPayloadHash    = &failure{http.StatusBadRequest, "InvalidRequest", "Missing required header for this request: x-amz-content-sha256"}
	errAuthVersion      = &failure{http.StatusBadRequest, "InvalidRequest", "The authorization mechanism you have provided is not supported. Please use AWS4-HMAC-SHA256."}
	errNoBucket         = &failure{http.StatusNotFound, "NoSuchBucket", "The specified bucket does not exist"}
	errNoKey            = &failure{http.StatusNotFound, "NoSuchKey", "The specified key does not exist."}
	errNoVersion        = &failure{http.StatusNotFound, "NoSuchVersion", "The specified version does not exist."}
	errNotImplemented   = &failure{http.StatusNotImplemented, "NotImplemented", "This server only lists and reads objects."}
	errRange            = &failure{http.StatusRequestedRangeNotSatisfiable, "InvalidRange", "The requested range is not satisfiable"}
	errPrecondition     = &failure{http.StatusPreconditionFailed, "PreconditionFailed", "At least one of the pre-conditions you specified did not hold"}
	errNotModified      = &failure{http.StatusNotModified, "NotModified", "Not Modified"}
	errInternal         = &failure{http.StatusInternalServerError, "InternalError", "The object cannot be read. What vaultpack serve prints says why."}
	errUnauthentic      = &failure{http.StatusInternalServerError, "InternalError", "The object does not authenticate: the vault was changed, or the key is wrong."}
	errSlowDown         = &failure{http.StatusServiceUnavailable, "SlowDown", "Please reduce your request rate."}
	errUnwritable       = &failure{http.StatusBadRequest, "InvalidRequest", "A key of the list cannot be written in XML. Ask with encoding-type=url."}
	errArgument         = &failure{http.StatusBadRequest, "InvalidArgument", "An argument of the request is not valid."}
	errContinuation     = &failure{http.StatusBadRequest, "InvalidArgument", "The continuation token provided is incorrect"}
	errPartNumber       = &failure{http.StatusRequestedRangeNotSatisfiable, "InvalidPartNumber", "The requested partnumber is not satisfiable"}
	errVersionOfVersion = &failure{http.StatusNotFound, "NoSuchVersion", "This bucket is one version only."}
)

// of is the failure that an error of a reader stands for.
func of(err error) *failure {
	var f *failure
	switch {
	case errors.As(err, &f):
		return f
	case errors.Is(err, serve.ErrRange):
		return errRange
	case errors.Is(err, serve.ErrPrecondition):
		return errPrecondition
	case errors.Is(err, serve.ErrNotModified):
		return errNotModified
	case errors.Is(err, serve.ErrUnknown):
		return errNoBucket
	case errors.Is(err, envelope.ErrAuthentication):
		return errUnauthentic
	case errors.Is(err, fs.ErrNotExist), errors.Is(err, fs.ErrInvalid), errors.Is(err, syscall.ELOOP):
		return errNoKey
	case errors.Is(err, context.DeadlineExceeded):
		return errSlowDown
	}
	return errInternal
}

// expected reports whether a client has to reckon with the failure, so that nobody has to be
// told.
func (f *failure) expected() bool {
	return f.status < http.StatusInternalServerError || f == errNotImplemented
}

type errorBody struct {
	XMLName   xml.Name `xml:"Error"`
	Code      string
	Message   string
	Resource  string
	RequestID string `xml:"RequestId"`
}

// write answers a request with the failure.
func (f *failure) write(w http.ResponseWriter, r *http.Request) {
	if f.status == http.StatusNotModified || r.Method == http.MethodHead {
		w.WriteHeader(f.status)
		return
	}
	writeXML(w, f.status, errorBody{Code: f.code, Message: f.message, Resource: r.URL.EscapedPath(), RequestID: w.Header().Get("X-Amz-Request-Id")})
}

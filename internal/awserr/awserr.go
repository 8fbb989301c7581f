// Package awserr interprets the errors of the AWS SDK: what a service answered, and
// what that means, for any service.
package awserr

import (
	"errors"
	"net/http"
	"regexp"
	"slices"
	"strings"

	"github.com/aws/aws-sdk-go-v2/aws/retry"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// Code returns the error code that the service gave, or "".
func Code(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorCode()
	}
	return ""
}

// Message returns the service's error message, or "".
func Message(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorMessage()
	}
	return ""
}

// Is reports whether the service gave one of the codes.
func Is(err error, codes ...string) bool {
	got := Code(err)
	return got != "" && slices.Contains(codes, got)
}

// Response returns the HTTP response, or nil if there was none: the SDK then makes
// one up, without a status.
func Response(err error) *http.Response {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil && re.Response.Response != nil && re.HTTPStatusCode() > 0 {
		return re.Response.Response
	}
	return nil
}

// Status returns the HTTP status of the response, or 0 if there was none.
func Status(err error) int {
	if r := Response(err); r != nil {
		return r.StatusCode
	}
	return 0
}

// A Trouble says what is wrong with the credentials of a call.
type Trouble string

// Possible problems with credentials.
const (
	None    Trouble = "none"    // the SDK found no usable credentials
	Expired Trouble = "expired" // they have expired
	Unknown Trouble = "unknown" // the service does not know them, or the signature is not theirs
)

// troubles maps error codes, those common to all services and those of S3, to problems.
var troubles = map[string]Trouble{
	"ExpiredToken":          Expired,
	"ExpiredTokenException": Expired,
	"RequestExpired":        Expired,
	"TokenRefreshRequired":  Expired,

	"IncompleteSignature":                 Unknown,
	"IncompleteSignatureException":        Unknown,
	"InvalidAccessKeyId":                  Unknown,
	"InvalidClientTokenId":                Unknown,
	"InvalidSignatureException":           Unknown,
	"InvalidToken":                        Unknown,
	"MissingAuthenticationToken":          Unknown,
	"MissingAuthenticationTokenException": Unknown,
	"SignatureDoesNotMatch":               Unknown,
	"UnrecognizedClientException":         Unknown,
}

// Credentials returns what is wrong with the credentials, or "" if the error is not
// about them. It recognizes the SDK's own errors by their text: they have no type, and a
// code in them comes from the service that issues the credentials.
func Credentials(err error) Trouble {
	if err == nil {
		return ""
	}
	if t := troubles[Code(err)]; t == Expired {
		return t
	}
	text := err.Error()
	has := func(parts ...string) bool {
		return slices.ContainsFunc(parts, func(p string) bool { return strings.Contains(text, p) })
	}
	switch {
	case has("SSO session has expired", "SSO token has expired", "token has expired", "ExpiredTokenException"):
		return Expired
	case has("get identity: ", "failed to refresh cached credentials", "no EC2 IMDS role found"):
		return None
	}
	return troubles[Code(err)]
}

// Denied reports whether the service says that a permission is missing. A response to
// HEAD has no code, only status 403.
func Denied(err error) bool {
	code := Code(err)
	return strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation" || code == "Forbidden"
}

// Within the same organization AWS names the missing permission, for example "… is
// not authorized to perform: kms:GenerateDataKey on resource: arn:… because …".
var notAuthorized = regexp.MustCompile(`not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on (?:the )?resource:? "?([^\s"]+))?`)

// Missing returns the permission that the error names as missing, and the resource
// that it is needed on, which may be empty.
func Missing(err error) (action, resource string, named bool) {
	if err == nil {
		return "", "", false
	}
	m := notAuthorized.FindStringSubmatch(err.Error())
	if m == nil {
		return "", "", false
	}
	return m[1], m[2], true
}

// Throttled reports whether the service asks for fewer calls. An exhausted quota does
// not count.
func Throttled(err error) bool {
	code := Code(err)
	if err == nil || code == "LimitExceededException" {
		return false
	}
	return Status(err) == http.StatusTooManyRequests || strings.Contains(code, "Throttl") ||
		retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}

// Unimplemented reports whether the server does not implement the request.
func Unimplemented(err error) bool {
	return Is(err, "NotImplemented", "MethodNotAllowed") || Status(err) == http.StatusNotImplemented
}

// BucketRegion returns the Region that a response of S3 says the bucket is in, or "".
// Responses to HEAD, 301 and 400, have nothing else that says what is wrong.
func BucketRegion(err error) string {
	r := Response(err)
	if r == nil {
		return ""
	}
	switch r.StatusCode {
	case http.StatusMovedPermanently, http.StatusTemporaryRedirect, http.StatusBadRequest:
		return r.Header.Get("X-Amz-Bucket-Region")
	}
	return ""
}

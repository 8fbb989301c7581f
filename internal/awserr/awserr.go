// Package awserr reads the errors of the AWS SDK: what a service has answered, and what
// that means whichever service it was.
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

// Code is the code that the service gave, or empty.
func Code(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorCode()
	}
	return ""
}

// Message is what the service said beside the code, or empty.
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

// Response is the answer, or nil if there was none. In its place the SDK makes one up
// without a status.
func Response(err error) *http.Response {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil && re.Response.Response != nil && re.HTTPStatusCode() > 0 {
		return re.Response.Response
	}
	return nil
}

// Status is the status of the answer, 0 if there was none.
func Status(err error) int {
	if r := Response(err); r != nil {
		return r.StatusCode
	}
	return 0
}

// A Trouble is what is wrong with the credentials of a call.
type Trouble string

// What may be wrong.
const (
	None    Trouble = "none"    // the SDK found none that can be used
	Expired Trouble = "expired" // they have ended
	Unknown Trouble = "unknown" // the service does not know them, or it is not they that have signed
)

// troubles are by the code: those common to all services, and those of S3.
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

// Credentials tells what is wrong with the credentials, and is empty if the error says
// nothing of them. It knows the SDK's own errors by their text: they have no type, and a
// code in them is that of the service that gives credentials.
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

// Denied reports whether the service says that a permission is missing. An answer to HEAD
// has no code, and 403 for its status.
func Denied(err error) bool {
	code := Code(err)
	return strings.HasPrefix(code, "AccessDenied") || code == "UnauthorizedOperation" || code == "Forbidden"
}

// To those in the same organization AWS tells the missing permission, as "… is not
// authorized to perform: kms:GenerateDataKey on resource: arn:… because …".
var notAuthorized = regexp.MustCompile(`not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on (?:the )?resource:? "?([^\s"]+))?`)

// Missing is the permission that the error names as missing, and what it is needed on,
// which may be empty.
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

// Throttled reports whether the service asks for fewer calls. A quota that is used up is
// another matter.
func Throttled(err error) bool {
	code := Code(err)
	if err == nil || code == "LimitExceededException" {
		return false
	}
	return Status(err) == http.StatusTooManyRequests || strings.Contains(code, "Throttl") ||
		retry.IsErrorThrottles(retry.DefaultThrottles).IsErrorThrottle(err).Bool()
}

// Unimplemented reports whether the server does not know what it is asked for.
func Unimplemented(err error) bool {
	return Is(err, "NotImplemented", "MethodNotAllowed") || Status(err) == http.StatusNotImplemented
}

// BucketRegion is the Region that an answer of S3 says the bucket is in, or empty: those
// to HEAD, 301 and 400, have nothing else to say what is wrong.
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

package provision

import (
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"regexp"
	"strings"

	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
)

// A DeniedError is a permission that is missing. It wraps fs.ErrPermission.
type DeniedError struct {
	// Action is the IAM action, and Resource what it is needed on.
	Action, Resource string
	Err              error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("not allowed: the permission %s on %s is missing (%v)", e.Action, e.Resource, e.Err)
}

func (e *DeniedError) Unwrap() []error { return []error{fs.ErrPermission, e.Err} }

var notAuthorized = regexp.MustCompile(`not authorized to perform: ([A-Za-z0-9-]+:[A-Za-z0-9*]+)(?: on (?:the )?resource:? "?([^\s"]+))?`)

// Explain makes a DeniedError of an answer that says so. What AWS names itself is
// believed more than what was asked for: calls take further permissions.
func Explain(err error, action, resource string) error {
	var denied *DeniedError
	if err == nil || errors.As(err, &denied) {
		return err
	}
	var unknown *CredentialsError
	if errors.As(err, &unknown) {
		return err
	}
	if BadCredentials(err) {
		return &CredentialsError{Doing: action + " on " + resource, Err: err}
	}
	switch code := errorCode(err); {
	case strings.HasPrefix(code, "AccessDenied"), code == "UnauthorizedOperation", code == "Forbidden", httpStatus(err) == http.StatusForbidden && !isThrottled(err):
		if m := notAuthorized.FindStringSubmatch(err.Error()); m != nil {
			action = m[1]
			if m[2] != "" {
				resource = m[2]
			}
		}
		return &DeniedError{Action: action, Resource: resource, Err: err}
	}
	return fmt.Errorf("%s on %s: %w", action, resource, err)
}

// A CredentialsError says that AWS does not take the credentials, or no longer, or
// that there are none. It wraps fs.ErrPermission.
type CredentialsError struct {
	Doing string
	Err   error
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("%s: no usable AWS credentials: there are none, or AWS does not know them, or they have ended; log in (aws sso login, aws configure), or set AWS_PROFILE, and run the same command again (%v)", e.Doing, e.Err)
}

func (e *CredentialsError) Unwrap() []error { return []error{fs.ErrPermission, e.Err} }

// BadCredentials reports whether the error says that AWS does not take the
// credentials, or no longer, or that there are none. It knows the SDK's own errors by
// their text: they have no type.
func BadCredentials(err error) bool {
	if err == nil {
		return false
	}
	text := err.Error()
	if strings.Contains(text, "get identity: ") || strings.Contains(text, "failed to refresh cached credentials") || strings.Contains(text, "no EC2 IMDS role found") {
		return true
	}
	return is(err, "ExpiredToken", "ExpiredTokenException", "RequestExpired", "TokenRefreshRequired",
		"InvalidClientTokenId", "UnrecognizedClientException", "InvalidAccessKeyId", "InvalidToken",
		"SignatureDoesNotMatch", "InvalidSignatureException", "IncompleteSignature", "IncompleteSignatureException",
		"MissingAuthenticationToken", "MissingAuthenticationTokenException")
}

// errorCode is the code that the service gave, or empty.
func errorCode(err error) string {
	var ae smithy.APIError
	if errors.As(err, &ae) {
		return ae.ErrorCode()
	}
	return ""
}

func httpStatus(err error) int {
	var re *smithyhttp.ResponseError
	if errors.As(err, &re) && re.Response != nil && re.Response.Response != nil {
		return re.HTTPStatusCode()
	}
	return 0
}

// unsupported tells that the server does not know what it is asked for.
func unsupported(err error) bool {
	switch errorCode(err) {
	case "NotImplemented", "MethodNotAllowed":
		return true
	}
	return httpStatus(err) == http.StatusNotImplemented
}

// is tells whether the service gave one of the codes.
func is(err error, codes ...string) bool {
	got := errorCode(err)
	for _, c := range codes {
		if got == c {
			return true
		}
	}
	return false
}

package provision

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"

	"github.com/vaultpack/vaultpack/internal/awserr"
)

// A DeniedError reports a missing permission. It wraps fs.ErrPermission.
type DeniedError struct {
	// Action is the IAM action, and Resource the resource that it is needed on.
	Action, Resource string
	Err              error
}

func (e *DeniedError) Error() string {
	return fmt.Sprintf("not allowed: the permission %s on %s is missing (%v)", e.Action, e.Resource, e.Err)
}

func (e *DeniedError) Unwrap() []error { return []error{fs.ErrPermission, e.Err} }

// Explain converts an access-denied response to a DeniedError. If AWS names the
// missing action and resource, Explain uses those instead of the arguments, since
// calls can need further permissions.
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
	if awserr.Denied(err) || awserr.Status(err) == http.StatusForbidden && !awserr.Throttled(err) {
		if named, on, ok := awserr.Missing(err); ok {
			action, resource = named, cmp.Or(on, resource)
		}
		return &DeniedError{Action: action, Resource: resource, Err: err}
	}
	return fmt.Errorf("%s on %s: %w", action, resource, err)
}

// A CredentialsError reports that the credentials are missing, expired or not
// accepted by AWS. It wraps fs.ErrPermission.
type CredentialsError struct {
	Doing string
	Err   error
}

func (e *CredentialsError) Error() string {
	return fmt.Sprintf("%s: no usable AWS credentials: there are none, or AWS does not know them, or they have ended; log in (aws sso login, aws configure), or set AWS_PROFILE, and run the same command again (%v)", e.Doing, e.Err)
}

func (e *CredentialsError) Unwrap() []error { return []error{fs.ErrPermission, e.Err} }

// BadCredentials reports whether err means that the credentials are missing,
// expired or not accepted by AWS.
func BadCredentials(err error) bool { return awserr.Credentials(err) != "" }

// is reports whether the service gave one of the codes.
func is(err error, codes ...string) bool { return awserr.Is(err, codes...) }

package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/vaultpack/vaultpack/config"
	"github.com/vaultpack/vaultpack/internal/awserr"
	"github.com/vaultpack/vaultpack/internal/keyservice"
	"github.com/vaultpack/vaultpack/provision"
)

func ok(format string, args ...any) Finding {
	return Finding{Result: OK, Reason: fmt.Sprintf(format, args...)}
}

func skipped(format string, args ...any) Finding {
	return Finding{Result: Skipped, Reason: fmt.Sprintf(format, args...)}
}

func warning(fix, format string, args ...any) Finding {
	return Finding{Result: Warning, Fix: fix, Reason: fmt.Sprintf(format, args...)}
}

func failed(fix, format string, args ...any) Finding {
	return Finding{Result: Failed, Fix: fix, Reason: fmt.Sprintf(format, args...)}
}

// lacking returns a failure because of missing permissions.
func lacking(actions []string, format string, args ...any) Finding {
	f := failed("allow "+strings.Join(actions, ", ")+"; vaultpack policy prints what a role needs", format, args...)
	f.Missing = actions
	return f
}

// unseen returns the finding for a setting that could not be read. Users who upload
// or train need not be allowed to read the bucket's settings, so this is not a
// failure.
func unseen(err error, action, resource string) Finding {
	var denied *provision.DeniedError
	switch {
	case err == nil:
		panic("doctor: no error")
	case awserr.Unimplemented(err):
		return skipped("this server has no such setting")
	case isIdentity(err):
		return unknownCaller(err)
	case errors.As(provision.Explain(err, action, resource), &denied):
		f := skipped("not allowed to check: this needs %s", denied.Action)
		f.Missing = []string{denied.Action}
		return f
	}
	return failed("try again; if it persists, ask the server's operator", "%s on %s: %s", action, resource, said(err))
}

// broken returns the finding for an operation that must work but failed. actions
// are the IAM actions that it needs; if the server names one, that one is reported.
func broken(fix string, err error, actions ...string) Finding {
	if isIdentity(err) {
		f := failed(fix, "%v", err)
		f.unknown = true
		return f
	}
	if !errors.Is(err, fs.ErrPermission) {
		return failed(fix, "%v", err)
	}
	if action, _, named := awserr.Missing(err); named {
		actions = []string{action}
	}
	if len(actions) == 0 {
		return failed("give this user read and write permission there", "%v", err)
	}
	return lacking(actions, "%v", err)
}

// login says how to fix credentials.
const login = "log in (aws sso login, aws configure), or set AWS_PROFILE"

// unknownCaller returns the finding for credentials that AWS does not, or no longer, accept.
func unknownCaller(err error) Finding {
	f := failed(login, "AWS does not accept these credentials, or no longer accepts them: %s", said(err))
	f.unknown = true
	return f
}

// isIdentity reports whether the error means that the caller is unknown, which no permission
// fixes.
func isIdentity(err error) bool {
	var mfa *config.MFAError
	return provision.BadCredentials(err) || errors.As(err, &mfa) || keyservice.Stranger(err)
}

// said returns the server's message, without what the SDK adds.
func said(err error) string {
	if said := awserr.Message(err); said != "" {
		return awserr.Code(err) + ": " + said
	}
	return err.Error()
}

// size formats a number of bytes for people.
func size(n int64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return fmt.Sprintf("%d B", n)
	}
	v, i := float64(n)/1024, 0
	for v >= 1024 && i < len(units)-1 {
		v, i = v/1024, i+1
	}
	return fmt.Sprintf("%.1f %ciB", v, units[i])
}

// plural returns a number with its noun.
func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

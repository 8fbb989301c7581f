package awsload

import (
	"context"
	"fmt"
	"io/fs"
	"os"
	"sync"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/credentials/stscreds"
)

// An MFAError reports that a profile needs a code from an MFA device, and that the user
// could not be asked for it. It wraps fs.ErrPermission.
type MFAError struct {
	Profile string
	Serial  string // the device's serial number or ARN
	Err     error  // why the user was not asked; nil if nobody can be asked
}

func (e *MFAError) Error() string {
	why := "there is no terminal to ask on"
	if e.Err != nil {
		why = e.Err.Error()
	}
	return fmt.Sprintf("the AWS profile %s wants a code from the MFA device %s, and %s; take a session first, with the AWS CLI, "+
		"which asks for the code, and run the same command again in it: eval \"$(aws configure export-credentials --profile %s --format env)\"; unset AWS_PROFILE",
		e.Profile, e.Serial, why, e.Profile)
}

func (e *MFAError) Unwrap() []error {
	if e.Err == nil {
		return []error{fs.ErrPermission}
	}
	return []error{fs.ErrPermission, e.Err}
}

// An mfa finds out whether a configuration of the SDK assumes a role with a code
// from an MFA device, and asks for the code.
type mfa struct {
	profile string
	ask     func(ctx context.Context, profile, serial string) (string, error)
	serial  string // empty if no code is wanted
}

// options sets the options for assuming a role. The SDK calls it for profiles that do so.
func (m *mfa) options(o *stscreds.AssumeRoleOptions) {
	if o.SerialNumber == nil {
		return
	}
	m.serial = *o.SerialNumber
	o.TokenProvider = func() (string, error) {
		if m.ask == nil {
			return "", &MFAError{Profile: m.profile, Serial: m.serial}
		}
		code, err := m.ask(context.Background(), m.profile, m.serial)
		if err != nil {
			return "", &MFAError{Profile: m.profile, Serial: m.serial, Err: err}
		}
		return code, nil
	}
}

// An MFA code can be used only once, so all clients of the process share the
// credentials obtained with it.
var sessions struct {
	sync.Mutex
	of map[string]aws.CredentialsProvider
}

// share returns the process's credentials for the profile; if there are none yet, these
// become them.
func (m *mfa) share(own aws.CredentialsProvider) aws.CredentialsProvider {
	if m.serial == "" {
		return own
	}
	key := m.serial + " " + m.profile + " " + os.Getenv("AWS_CONFIG_FILE")
	sessions.Lock()
	defer sessions.Unlock()
	if first := sessions.of[key]; first != nil {
		return first
	}
	if sessions.of == nil {
		sessions.of = map[string]aws.CredentialsProvider{}
	}
	sessions.of[key] = own
	return own
}
